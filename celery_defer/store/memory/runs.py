"""The runs with steps of the memory store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from celery_defer.commands import Commands
from celery_defer.ids import RunId
from celery_defer.store.history import Fact
from celery_defer.store.memory.history import MemoryHistories
from celery_defer.store.memory.state import MemoryAlarm, MemoryRecord, MemoryRun
from celery_defer.store.owner import is_of_one_message
from celery_defer.store.values import (
    DRIFT,
    NO_SHAPE,
    Arrival,
    Claim,
    Parking,
    Recalled,
    Resumed,
    SentEvent,
    Subscription,
    Verdict,
)


class MemorySteps(MemoryHistories):
    """Keeps the steps of each run beside its record in the outbox."""

    def turn(self, id: RunId) -> int:
        with self._lock:
            return self._runs[id].turn

    def recall(self, id: RunId, now: float | None, keep: float) -> Recalled:
        with self._lock:
            run = self._runs[id]
            run.since = now if run.since is None else run.since
            return run.recalled()

    def resume(
        self,
        id: RunId,
        turn: int,
        owner: str,
        keep: float,
        report: Commands | None = None,
        *,
        facts: Sequence[Fact] = (),
        is_retry: bool = False,
    ) -> Resumed:
        with self._lock:
            run = self._runs[id]
            if run.turn < turn or (run.turn == turn and run.owner is None):
                self._outbox.pop(id, None)
            if run.turn != turn:
                return Resumed(Claim("", is_mine=False), Recalled(run.turn, 0.0))
            run.owner = run.owner or owner
            if run.owner != owner:
                if is_retry and is_of_one_message(run.owner, owner):
                    self._note(facts)
                return Resumed(Claim(run.owner, is_mine=False), Recalled(turn, 0.0))
            self._note(facts)
            return Resumed(Claim(owner, is_mine=True), run.recalled())

    def remember(self, id: RunId, memos: Mapping[str, bytes], keep: float) -> bytes:
        with self._lock:
            if self._runs[id].is_cancelled:
                return b""
            return [self._runs[id].memos.setdefault(*item) for item in memos.items()][-1]

    def expire(self, id: RunId, turn: int, keep: float) -> None:
        pass  # nothing expires

    def expiry(self, id: RunId, keep: float) -> Commands | None:
        return None

    def reaches(self, report: Commands) -> bool:
        return False

    def park(
        self,
        id: RunId,
        parking: Parking,
        now: float,
        keep: float,
        report: Commands | None = None,
        *,
        facts: Sequence[Fact] = (),
    ) -> Arrival:
        with self._lock:
            run, wait = self._runs[id], parking.subscription
            if run.is_cancelled:
                return Arrival(Verdict.CANCELLED)
            if run.turn != parking.turn:
                return Arrival(Verdict.SUPERSEDED)
            if wait and parking.step not in run.memos:
                known_since, since = self._known_since(wait, now), run.since_of(wait)
                if parking.early is None and known_since > since:
                    return Arrival(Verdict.LOOK, known_since=known_since, since=since)
                self._receive_one(run, parking.step, wait, parking.early or ())
            if parking.step in run.memos:
                return Arrival(Verdict.ARRIVED, memo=run.memos[parking.step])
            run.turn, run.owner = run.turn + 1, None
            run.waits[parking.step] = parking.note
            run.spans[parking.step] = parking.span
            run.ending = parking.ending or run.ending
            self._outbox[id] = MemoryRecord(
                parking.token,
                parking.body,
                parking.due,
                step=parking.step,
                digest=wait.digest if wait else "",
                expires=now + keep,
            )
            self._note(facts)
            self._ring()
            return Arrival(Verdict.PARKED)

    def give_up(
        self, id: RunId, step: str, wait: Subscription, nothing: bytes, keep: float
    ) -> bytes:
        with self._lock:
            run = self._runs[id]
            self._receive_one(run, step, wait)
            return run.memos.setdefault(step, nothing)

    def cancel(
        self, id: RunId, keep: float, until: float, *, only_parked: bool = False
    ) -> bytes | None:
        with self._lock:
            run, record = self._runs[id], self._outbox.get(id)
            is_parked = run.is_parked if record is None else record.step is not None
            if only_parked and not is_parked:
                return None
            run.is_cancelled = True
            if not is_parked:
                return None
            run.owner = run.owner or "cancelled"
            token, body = (record.token, record.body) if record else ("cancelled", run.ending)
            self._outbox[id] = MemoryRecord(token, body, until, lease=until, is_cancelled=True)
            return body

    def next_due(self) -> float | None:
        with self._lock:
            return min((record.due for record in self._outbox.values()), default=None)

    def alarm(self) -> MemoryAlarm:
        return MemoryAlarm(self._parked, lambda: self._parks, self.next_due)

    def _known_since(self, wait: Subscription, now: float) -> float:
        """Return since when events are kept by the shape of a wait; from now on, if it is new."""
        if wait.shape == NO_SHAPE:
            return 0.0
        return self._shapes.setdefault(wait.name, {}).setdefault(wait.shape, now + DRIFT)

    def _receive_one(
        self, run: MemoryRun, step: str, wait: Subscription, early: Iterable[SentEvent] = ()
    ) -> None:
        """Give the step the first event that the run has not received; move the cursor."""
        if step in run.memos:
            return
        since = run.since_of(wait)
        for event in [*early, *(each for each in self._past(wait.digest) if each.at >= since)]:
            run.cursors[wait.digest] = max(run.cursors.get(wait.digest, 0), event.at)
            if run.receive(step, event):
                return
