"""What a step does this time: returned from its memo, waited for, or begun."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from pydantic_core import from_json, to_json

from celery_defer.model import Call
from celery_defer.run import Memo
from celery_defer.store import Recalled

_DEFERS = re.compile(rb'"(calls|skipped|aborted)":').search
#: Prefix of the key of a failure that a body has caught; no step's key begins with it.
CAUGHT = "\1"


@dataclass(frozen=True, slots=True)
class Note:
    """What the store keeps, in JSON, of a step that parked its run.

    How often the step was tried, in which attempt and turn of the run it parked, how many turns in
    a row the body had come to another step than the one that the run waited at, and of which kind
    the step is, as in its memo.
    """

    tries: int = 0
    attempt: int = 1
    turn: int = 0
    detours: int = 0
    kind: str = ""

    def pack(self) -> bytes:
        return to_json([self.tries, self.attempt, self.turn, self.detours, self.kind])

    @classmethod
    def unpack(cls, body: bytes) -> Note:
        return cls(*from_json(body)[:5])  # a later version may write more


@dataclass(frozen=True, slots=True)
class Span:
    """Since when and until when a step waits, in seconds since 1970; 0 if that is not known.

    ``experiments`` are the variants in which the step is. It is stored beside the step's note, of
    which an earlier version of the package reads no more
    than there is.
    """

    since: float = 0.0
    until: float = 0.0
    experiments: Mapping[str, str] = field(default_factory=dict)

    def pack(self) -> bytes:
        times = [round(self.since, 6), round(self.until, 3)]
        return to_json([*times, self.experiments] if self.experiments else times)

    @classmethod
    def unpack(cls, body: bytes | None) -> Span:
        return cls(*from_json(body)[:3]) if body else cls()


@dataclass(slots=True)
class Replay:
    """A run's steps, as this turn knows them.

    ``since`` is when the run's steps were first recalled. ``pending`` has the failures that the
    body may have caught; they are stored with the next step, for the turns of this attempt.
    """

    turn: int = 0
    since: float = 0.0
    memos: dict[str, bytes] = field(default_factory=dict)
    waits: Mapping[str, bytes] = field(default_factory=dict)
    is_cancelled: bool = False
    #: Why; and the digests of the events that cancel the run, if it is watched.
    why: str = ""
    watched: Sequence[str] = ()
    is_watched: bool = False
    #: Whether its body has begun before, as far as its deadlines are concerned.
    has_begun: bool = False
    #: Whether the steps were read from the store.
    is_recalled: bool = False
    #: Since when and until when each step has waited.
    spans: Mapping[str, bytes] = field(default_factory=dict)
    lost_store: Exception | None = None
    waits_for: Mapping[str, Any] = field(default_factory=dict)
    #: The attempt of the task that this turn belongs to.
    attempt: int = 1
    pending: dict[str, bytes] = field(default_factory=dict)
    #: The last number of each id and key in use.
    _numbers: dict[str, int] = field(default_factory=dict)
    #: Threads of the run may begin steps at the same time.
    _numbering: Lock = field(default_factory=Lock)

    @classmethod
    def of(cls, recalled: Recalled, attempt: int) -> Replay:
        """Return the replay of a run whose steps were read from the store."""
        return cls(
            recalled.turn,
            recalled.since,
            dict(recalled.memos),
            recalled.waits,
            recalled.is_cancelled,
            recalled.why,
            recalled.watched,
            recalled.is_watched,
            recalled.has_begun,
            is_recalled=True,
            spans=recalled.spans,
            attempt=attempt,
        )

    def key(self, id: str) -> str:
        """Return the key of the next step with this id: the id, then ``id:1``, ``id:2`` …"""
        with self._numbering:
            key, number = id, self._numbers.get(id, 0)
            while key in self._numbers:
                number += 1
                key = f"{id}:{number}"
            self._numbers[id] = number
            self._numbers.setdefault(key, 0)
            return key

    def memo(self, key: str) -> Memo | None:
        """Return the memo of a step, if it has finished, or has failed in this attempt."""
        body = self.memos.get(key, self.memos.get(self._caught(key)))
        return Memo.unpack(body) if body is not None else None

    def catch(self, key: str, failure: bytes) -> None:
        """Hold the failure of a step until the body comes to the next one: it has caught it."""
        self.pending[self._caught(key)] = failure

    def note(self, key: str) -> Note | None:
        """Return the note of a step that has parked the run; its wait is over."""
        body = self.waits.get(key)
        return Note.unpack(body) if body is not None else None

    def diverged(self) -> tuple[str, int] | None:
        """Return the step that ended the previous turn, if the body has not reached it again.

        And how many turns in a row that has happened. A new attempt may take another path.
        """
        for key in self.waits.keys() - self._numbers.keys():
            note = Note.unpack(self.waits[key])
            if note.attempt == self.attempt and note.turn == self.turn - 1:
                return key, note.detours
        return None

    def failures(self) -> Iterator[tuple[str, Memo]]:
        """Return the steps whose failures are not stored, with what would be their memos."""
        for key, body in list(self.pending.items()):
            yield key.removeprefix(self._caught("")), Memo.unpack(body)

    def calls(self) -> Iterator[Call]:
        """Return the calls that finished steps deferred."""
        for memo in self.deferring():
            yield from memo.calls

    def deferring(self) -> Iterator[Memo]:
        """Return the memos of this attempt's steps that deferred, skipped or aborted a call."""
        for key, body in list(self.memos.items()):
            is_earlier = key.startswith(CAUGHT) and not key.startswith(self._caught(""))
            if _DEFERS(body) and not is_earlier:  # others are parsed when their step needs them
                yield Memo.unpack(body)

    def _caught(self, key: str) -> str:
        return f"{CAUGHT}{self.attempt}:{key}"
