"""The part of the memory store that knows of runs with steps, and of events."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from celery_defer.ids import RunId
from celery_defer.store.protocol import Claim, Taken
from celery_defer.store.steps import (
    NO_SHAPE,
    Arrival,
    Emitted,
    Parking,
    Recalled,
    Resumed,
    SentEvent,
    Verdict,
)

__all__ = ["MemoryNudges", "MemoryRecord", "MemoryRun", "MemorySteps"]


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """A record of the outbox; of a parked run it has a step, and what that waits for."""

    token: str
    body: bytes
    due: float
    tries: int = 0
    step: str | None = None
    digest: str = ""
    lease: float = 0.0


@dataclass(slots=True)
class MemoryRun:
    """What a run remembers."""

    since: float = 0.0
    turn: int = 0
    owner: str | None = None
    is_cancelled: bool = False
    memos: dict[str, bytes] = field(default_factory=dict)
    waits: dict[str, bytes] = field(default_factory=dict)
    received: set[str] = field(default_factory=set)

    def recalled(self) -> Recalled:
        memos, waits = dict(self.memos), dict(self.waits)
        return Recalled(self.turn, self.since, memos, waits, self.is_cancelled)

    def receive(self, step: str, event: SentEvent) -> bool:
        """Keep an event as what a step answers; False if the run has it, or the step another."""
        if event.id in self.received:
            return False
        self.received.add(event.id)
        return self.memos.setdefault(step, event.memo) is event.memo


class MemoryNudges:
    """Wakes who waits when a run parks, in this process."""

    def __init__(self, condition: threading.Condition, last: Callable[[], float | None]) -> None:
        self._condition = condition
        self._last = last

    def wait(self, seconds: float) -> float | None:
        with self._condition:
            return self._last() if self._condition.wait(seconds) else None

    def close(self) -> None:
        pass


class MemorySteps:
    """Finds a waiting run by looking at all of them."""

    _outbox: dict[RunId, MemoryRecord]
    _runs: defaultdict[RunId, MemoryRun]
    _events: dict[str, list[SentEvent]]
    _shapes: dict[str, dict[str, float]]
    _sent: set[str]
    _lock: threading.RLock
    _parked: threading.Condition

    def recall(self, id: RunId, now: float | None, keep: float) -> Recalled:  # noqa: ARG002
        with self._lock:
            run = self._runs[id]
            run.since = run.since or now or 0.0
            return run.recalled()

    def resume(self, id: RunId, turn: int, owner: str, keep: float) -> Resumed:  # noqa: ARG002
        with self._lock:
            run = self._runs[id]
            if run.turn != turn:
                return Resumed(Claim("", is_mine=False), run.recalled())
            run.owner = run.owner or owner
            return Resumed(Claim(run.owner, run.owner == owner), run.recalled())

    def remember(
        self,
        id: RunId,
        memos: Mapping[str, bytes],
        keep: float,  # noqa: ARG002
    ) -> bytes:
        with self._lock:
            kept = [self._runs[id].memos.setdefault(step, memo) for step, memo in memos.items()]
            return kept[-1]

    def park(
        self,
        id: RunId,
        parking: Parking,
        now: float,
        keep: float,  # noqa: ARG002
    ) -> Arrival:
        with self._lock:
            run, event = self._runs[id], parking.subscription
            if run.is_cancelled:
                return Arrival(Verdict.CANCELLED)
            if run.turn != parking.turn:
                return Arrival(Verdict.SUPERSEDED)
            known = 0.0
            if event:
                for came in self._events.get(event.digest, []):
                    if came.at >= event.since and run.receive(parking.step, came):
                        return Arrival(Verdict.ARRIVED, memo=run.memos[parking.step])
                if event.shape != NO_SHAPE:
                    known = self._shapes.setdefault(event.name, {}).setdefault(event.shape, now)
            run.turn, run.owner = run.turn + 1, None
            run.waits[parking.step] = parking.note
            self._outbox[id] = MemoryRecord(
                parking.token, parking.body, parking.due, 0, parking.step,
                event.digest if event else "",
            )  # fmt: skip
            self._parked.notify_all()
            return Arrival(Verdict.PARKED, known=known)

    def cancel(
        self,
        id: RunId,
        keep: float,  # noqa: ARG002
        *,
        only_parked: bool = False,
    ) -> bytes | None:
        with self._lock:
            is_parked = id in self._outbox and self._outbox[id].step is not None
            if only_parked and not is_parked:
                return None
            self._runs[id].is_cancelled = True
            return self._outbox.pop(id).body if is_parked else None

    def next_due(self) -> float | None:
        return min((record.due for record in self._outbox.values()), default=None)

    def nudges(self) -> MemoryNudges:
        return MemoryNudges(self._parked, self.next_due)

    def emit(
        self,
        event: SentEvent,
        digests: Mapping[str, str],
        *,
        now: float,
        until: float,
        limit: int,
        keep: float,
        is_new: bool = True,
    ) -> Emitted:
        with self._lock:
            shapes = self._shapes.get(event.name, {})
            if [shape for shape in digests if shape != NO_SHAPE] != list(shapes):
                return Emitted(unknown_shapes=list(shapes))
            if is_new:
                if event.id in self._sent:
                    return Emitted()
                self._sent.add(event.id)
                for digest in set(digests.values()):
                    kept = [old for old in self._events.get(digest, []) if old.at >= now - keep]
                    self._events[digest] = sorted([*kept, event], key=lambda each: each.at)
            waiting = [
                id
                for id, record in self._outbox.items()
                if record.step and record.digest and record.digest in digests.values()
            ]
            woken = [id for id in waiting[:limit] if self._receives(id, event)]
            free = [id for id in woken if self._outbox[id].lease <= now]
            taken = [self._lease(id, until) for id in free]
            return Emitted(len(woken), taken, has_more=len(waiting) > limit)

    def past(self, name: str, digest: str, since: float, before: float) -> list[SentEvent]:  # noqa: ARG002
        return [event for event in self._events.get(digest, []) if since <= event.at < before]

    def arrive(
        self, id: RunId, step: str, now: float, until: float, event: SentEvent | None = None
    ) -> Taken | None:
        with self._lock:
            record = self._outbox.get(id)
            if record is None or record.step != step:
                return None
            if event and not self._receives(id, event):
                return None
            return self._lease(id, until) if record.lease <= now else None

    def _receives(self, id: RunId, event: SentEvent) -> bool:
        record = self._outbox[id]
        self._outbox[id] = replace(record, digest="")  # it waits no longer
        return self._runs[id].receive(str(record.step), event)

    def _lease(self, id: RunId, until: float) -> Taken:
        raise NotImplementedError
