"""The runs with steps of the memory store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from celery_defer.commands import Commands
from celery_defer.flow import Ask, Go
from celery_defer.ids import RunId
from celery_defer.store.history import Fact
from celery_defer.store.memory.flow import MemoryFlow
from celery_defer.store.memory.state import MemoryAlarm, MemoryRecord, MemoryRun
from celery_defer.store.owner import is_of_one_message
from celery_defer.store.values import (
    Arrival,
    Claim,
    Parking,
    Recalled,
    Resumed,
    SentEvent,
    Subscription,
    Verdict,
)


class MemorySteps(MemoryFlow):
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
        ask: Ask | None = None,
    ) -> Resumed:
        with self._lock:
            run, admission = self._runs[id], None
            holder = run.owner or owner
            if ask and run.turn == turn and (holder == owner or is_of_one_message(holder, owner)):
                admission = self._resume_with(ask)
            if admission is not None and not isinstance(admission, Go):
                claim = Claim(holder, holder == owner, admission)
                return Resumed(claim, run.recalled())
            if run.turn < turn or (run.turn == turn and run.owner is None):
                self._outbox.pop(id, None)
            if run.turn != turn:
                return Resumed(Claim("", is_mine=False), Recalled(run.turn, 0.0))
            run.owner = run.owner or owner
            if run.owner != owner:
                if is_retry and is_of_one_message(run.owner, owner):
                    self._note(facts)
                return Resumed(Claim(run.owner, False, admission), Recalled(turn, 0.0))
            self._note(facts)
            return Resumed(Claim(owner, True, admission), run.recalled())

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
        self, id: RunId, keep: float, until: float, *, only_parked: bool = False, why: str = ""
    ) -> bytes | None:
        with self._lock:
            if only_parked and not self._is_parked(id):
                return None
            return self._cancel(id, why, until, lease=until)

    def next_due(self) -> float | None:
        with self._lock:
            deadlines = (run.deadline for run in self._runs.values())
            times = [time for time in (*deadlines, *self._drains()) if time is not None]
            return min([*times, *(record.due for record in self._outbox.values())], default=None)

    def alarm(self) -> MemoryAlarm:
        return MemoryAlarm(self._parked, lambda: self._parks, self.next_due)

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
