"""The part of the memory store that knows of runs with steps, and of events."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from celery_defer.ids import RunId
from celery_defer.store.protocol import Claim, Taken
from celery_defer.store.steps import (
    DRIFT,
    NO_SHAPE,
    Arrival,
    Emitted,
    Parking,
    Recalled,
    Resumed,
    SentEvent,
    Subscription,
    Told,
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
    over: float | None = None


@dataclass(slots=True)
class MemoryRun:
    """What a run remembers."""

    since: float | None = None
    turn: int = 0
    owner: str | None = None
    is_cancelled: bool = False
    memos: dict[str, bytes] = field(default_factory=dict)
    waits: dict[str, bytes] = field(default_factory=dict)
    received: set[str] = field(default_factory=set)

    def recalled(self) -> Recalled:
        memos, waits = dict(self.memos), dict(self.waits)
        return Recalled(self.turn, self.since or 0.0, memos, waits, self.is_cancelled)

    def receive(self, step: str, event: SentEvent) -> bool:
        """Keep an event as what a step answers; False if the run has it, or the step another."""
        if event.id in self.received or step in self.memos:
            return False
        self.received.add(event.id)
        self.memos[step] = event.memo
        return True


class MemoryNudges:
    """Wakes who waits when a run parks, in this process."""

    def __init__(
        self,
        condition: threading.Condition,
        parked: Callable[[], int],
        next_due: Callable[[], float | None],
    ) -> None:
        self._condition = condition
        self._parked = parked
        self._next_due = next_due
        self._seen = parked()

    def wait(self, seconds: float) -> float | None:
        with self._condition:
            if not self._condition.wait_for(lambda: self._parked() != self._seen, seconds):
                return None
            self._seen = self._parked()
            return self._next_due()

    def close(self) -> None:
        pass


class MemorySteps:
    """Finds a waiting run by looking at all of them."""

    _outbox: dict[RunId, MemoryRecord]
    _runs: defaultdict[RunId, MemoryRun]
    _events: dict[str, list[SentEvent]]
    _shapes: dict[str, dict[str, float]]
    _sent: dict[str, bool]
    _lock: threading.RLock
    _parked: threading.Condition
    _parks: int

    def recall(self, id: RunId, now: float | None, keep: float) -> Recalled:  # noqa: ARG002
        with self._lock:
            run = self._runs[id]
            run.since = now if run.since is None else run.since
            return run.recalled()

    def resume(
        self,
        id: RunId,
        turn: int,
        owner: str,
        keep: float,  # noqa: ARG002
        told: Told | None = None,  # noqa: ARG002
    ) -> Resumed:
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
            if self._runs[id].is_cancelled:
                return b""
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
            run, wait = self._runs[id], parking.subscription
            if run.is_cancelled:
                return Arrival(Verdict.CANCELLED)
            if run.turn != parking.turn:
                return Arrival(Verdict.SUPERSEDED)
            if wait and parking.step not in run.memos:
                known = self._known_since(wait, now)
                if parking.early is None and known > wait.since:
                    return Arrival(Verdict.LOOK, known=known)
                self._receive_one(run, parking.step, [*(parking.early or ()), *self._since(wait)])
            if parking.step in run.memos:
                return Arrival(Verdict.ARRIVED, memo=run.memos[parking.step])
            run.turn, run.owner = run.turn + 1, None
            run.waits[parking.step] = parking.note
            self._outbox[id] = MemoryRecord(
                parking.token,
                parking.body,
                parking.due,
                step=parking.step,
                digest=wait.digest if wait else "",
            )
            self._parks += 1
            self._parked.notify_all()
            return Arrival(Verdict.PARKED)

    def give_up(
        self,
        id: RunId,
        step: str,
        wait: Subscription,
        nothing: bytes,
        keep: float,  # noqa: ARG002
    ) -> bytes:
        with self._lock:
            run = self._runs[id]
            self._receive_one(run, step, self._since(wait))
            return run.memos.setdefault(step, nothing)

    def _known_since(self, wait: Subscription, now: float) -> float:
        """Answer since when events are kept by the values of a wait; from now on they are."""
        if wait.shape == NO_SHAPE:
            return 0.0
        return self._shapes.setdefault(wait.name, {}).setdefault(wait.shape, now + DRIFT)

    def _since(self, wait: Subscription) -> list[SentEvent]:
        return [event for event in self._kept(wait.digest) if event.at >= wait.since]

    def _receive_one(self, run: MemoryRun, step: str, came: Iterable[SentEvent]) -> None:
        """Let the step answer the first event that the run has not received."""
        next((event for event in came if run.receive(step, event)), None)

    def cancel(
        self,
        id: RunId,
        keep: float,  # noqa: ARG002
        until: float,
        *,
        only_parked: bool = False,
    ) -> bytes | None:
        with self._lock:
            record = self._outbox.get(id)
            is_parked = record is not None and record.step is not None
            if only_parked and not is_parked:
                return None
            self._runs[id].is_cancelled = True
            if record is None or not is_parked:
                return None
            self._outbox[id] = replace(record, step=None, digest="", due=until, lease=until)
            return record.body

    def next_due(self) -> float | None:
        with self._lock:
            return min((record.due for record in self._outbox.values()), default=None)

    def nudges(self) -> MemoryNudges:
        return MemoryNudges(self._parked, lambda: self._parks, self.next_due)

    def emit(
        self,
        event: SentEvent,
        digests: Mapping[str, str],
        *,
        now: float,
        until: float,
        limit: int,
        keep: float,
    ) -> Emitted:
        with self._lock:
            known = self._shapes.get(event.name, {})
            shapes = sorted(known, key=lambda shape: (known[shape], shape))
            if [shape for shape in digests if shape != NO_SHAPE] != shapes:
                return Emitted(unknown_shapes=shapes)
            if self._sent.get(event.id) is False:
                return Emitted()
            wanted = [digest for digest in dict.fromkeys(digests.values()) if digest]
            if event.id not in self._sent:
                self._keep(replace(event, is_named=False), wanted, now - keep)
            waiting = [id for digest in wanted for id in self._waiting(digest)]
            woken, left = self._wake(waiting, event, limit)
            has_more = bool(left)
            if has_more or event.is_named:
                self._sent[event.id] = has_more
            else:
                self._sent.pop(event.id, None)
            free = [id for id in woken if self._outbox[id].lease <= now]
            taken = tuple(self._lease(id, until) for id in free)
            return Emitted(len(woken), taken, has_more=has_more)

    def past(self, name: str, digest: str, since: float, before: float) -> list[SentEvent]:  # noqa: ARG002
        return [event for event in self._kept(digest) if since <= event.at < before]

    def arrive(self, id: RunId, step: str, now: float, until: float) -> Taken | None:
        with self._lock:
            record = self._outbox.get(id)
            if record is None or record.step != step:
                return None
            is_free = record.lease <= now
            over = record.over if is_free else now
            self._outbox[id] = replace(record, digest="", over=over)  # it waits no longer
            return self._lease(id, until) if is_free else None

    def _kept(self, digest: str) -> list[SentEvent]:
        return self._events.get(digest, [])

    def _keep(self, event: SentEvent, digests: Sequence[str], first: float) -> None:
        for digest in digests:
            same = event.id, event.memo
            others = [each for each in self._kept(digest) if (each.id, each.memo) != same]
            events = sorted([*others, event], key=lambda each: (each.at, each.id))
            self._events[digest] = [each for each in events if each.at >= first]

    def _waiting(self, digest: str) -> list[RunId]:
        """Answer the runs that wait for these values, in the order of their ids."""
        return sorted(id for id, record in self._outbox.items() if record.digest == digest)

    def _wake(
        self, waiting: Sequence[RunId], event: SentEvent, limit: int
    ) -> tuple[list[RunId], Sequence[RunId]]:
        """Give the event to so many runs; answer which, and those that are left."""
        woken: list[RunId] = []
        for position, id in enumerate(waiting):
            if len(woken) == limit:
                return woken, waiting[position:]
            if self._receives(id, event):
                woken.append(id)
        return woken, ()

    def _receives(self, id: RunId, event: SentEvent) -> bool:
        record, run = self._outbox[id], self._runs[id]
        step = str(record.step)
        if step not in run.memos and event.id in run.received:
            return False  # it waits for the next one
        self._outbox[id] = replace(record, digest="")
        return run.receive(step, event)

    def _lease(self, id: RunId, until: float) -> Taken:
        raise NotImplementedError
