"""What a step does this time: answered already, waited for, or to be begun."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pydantic_core import from_json, to_json

from celery_defer import memo
from celery_defer.memo import Memo
from celery_defer.model import Call

__all__ = ["Note", "Replay"]


@dataclass(frozen=True, slots=True)
class Note:
    """What is left with a step that parks its run.

    How often the step was tried, and in which attempt of the run that was.
    """

    tries: int = 0
    attempt: int = 1

    def pack(self) -> bytes:
        return to_json({"tries": self.tries, "attempt": self.attempt})

    @classmethod
    def unpack(cls, body: bytes) -> Note:
        known = from_json(body)
        return cls(known["tries"], known["attempt"])


@dataclass(slots=True)
class Replay:
    """A run's steps as they are known in this turn.

    ``since`` is when the run was first seen. What the body has caught of a step's failures
    is ``pending``, until it is kept with the next step.
    """

    turn: int = 0
    since: float = 0.0
    memos: dict[str, bytes] = field(default_factory=dict)
    waits: Mapping[str, bytes] = field(default_factory=dict)
    is_cancelled: bool = False
    pending: dict[str, bytes] = field(default_factory=dict)
    #: The ids and keys that steps have, and the last number of each id.
    _numbers: dict[str, int] = field(default_factory=dict)

    def key(self, id: str) -> str:
        """Answer the key of the next step with this id: the id, then ``id:1``, ``id:2`` …"""
        key, number = id, self._numbers.get(id, 0)
        while key in self._numbers:
            number += 1
            key = f"{id}:{number}"
        self._numbers[id] = number
        self._numbers.setdefault(key, 0)
        return key

    def memo(self, key: str) -> Memo | None:
        """Answer what a step has come to, if it has finished."""
        body = self.memos.get(key)
        return memo.unpack(body) if body is not None else None

    def note(self, key: str) -> Note | None:
        """Answer what a step left when it parked the run; its wait is over."""
        body = self.waits.get(key)
        return Note.unpack(body) if body is not None else None

    def left_out(self, attempt: int) -> str | None:
        """Answer a step that has parked this attempt, and that the body has not come to again."""
        for key in self.waits.keys() - self._numbers.keys():
            if Note.unpack(self.waits[key]).attempt == attempt:
                return key
        return None

    def calls(self) -> Iterator[Call]:
        """Answer what finished steps have deferred."""
        for body in self.memos.values():
            if b'"calls":' in body:  # most have none, and are read when their step asks
                yield from memo.unpack(body).calls
