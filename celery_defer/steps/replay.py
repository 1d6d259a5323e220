"""What a step does this time: returned from its memo, waited for, or begun."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json, to_json

from celery_defer.model import Call
from celery_defer.run import Memo
from celery_defer.store import Recalled


@dataclass(frozen=True, slots=True)
class Note:
    """What is left with a step that parks its run, in JSON.

    How often the step was tried; in which attempt and turn of the run that was; and how many
    turns in a row had ended at another step than the one before.
    """

    tries: int = 0
    attempt: int = 1
    turn: int = 0
    detours: int = 0

    def pack(self) -> bytes:
        return to_json([self.tries, self.attempt, self.turn, self.detours])

    @classmethod
    def unpack(cls, body: bytes) -> Note:
        return cls(*from_json(body))


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
    #: Whether the store was asked what it remembers.
    is_known: bool = False
    lost_store: Exception | None = None
    waits_for: Mapping[str, Any] = field(default_factory=dict)
    #: The step whose function is in progress.
    step: str | None = None
    pending: dict[str, bytes] = field(default_factory=dict)
    #: The ids and keys that steps have, and the last number of each id.
    _numbers: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, recalled: Recalled) -> Replay:
        """Return what a store remembers of the run."""
        return cls(
            recalled.turn,
            recalled.since,
            dict(recalled.memos),
            recalled.waits,
            recalled.is_cancelled,
            is_known=True,
        )

    def key(self, id: str) -> str:
        """Return the key of the next step with this id: the id, then ``id:1``, ``id:2`` …"""
        key, number = id, self._numbers.get(id, 0)
        while key in self._numbers:
            number += 1
            key = f"{id}:{number}"
        self._numbers[id] = number
        self._numbers.setdefault(key, 0)
        return key

    def memo(self, key: str) -> Memo | None:
        """Return what a step has come to, if it has finished."""
        body = self.memos.get(key)
        return Memo.unpack(body) if body is not None else None

    def note(self, key: str) -> Note | None:
        """Return what a step left when it parked the run; its wait is over."""
        body = self.waits.get(key)
        return Note.unpack(body) if body is not None else None

    def diverged(self, attempt: int) -> tuple[str, int] | None:
        """Return the step that has ended the turn before, if the body has not come to it.

        And how many turns in a row had gone so. Another attempt may take another way.
        """
        for key in self.waits.keys() - self._numbers.keys():
            left = Note.unpack(self.waits[key])
            if left.attempt == attempt and left.turn == self.turn - 1:
                return key, left.detours
        return None

    def calls(self) -> Iterator[Call]:
        """Return what finished steps have deferred."""
        for body in self.memos.values():
            if b'"calls":' in body:  # most have none, and are read when their step asks
                yield from Memo.unpack(body).calls
