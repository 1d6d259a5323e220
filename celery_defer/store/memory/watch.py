"""What ends the runs of the memory store before their bodies do."""

from __future__ import annotations

import math
from collections.abc import Sequence

from celery_defer.commands import Commands
from celery_defer.ids import RunId
from celery_defer.store.history import Fact
from celery_defer.store.memory.history import MemoryHistories
from celery_defer.store.memory.state import MemoryRecord, MemoryRun
from celery_defer.store.values import (
    CANCELLED,
    DRIFT,
    NO_SHAPE,
    Cancelling,
    Look,
    Subscription,
    Watch,
    Watched,
    by_event,
)


class MemoryWatching(MemoryHistories):
    """Finds runs to end by looking at all runs."""

    def watch(
        self, id: RunId, watch: Watch, now: float, keep: float, *, facts: Sequence[Fact] = ()
    ) -> Watched:
        with self._lock:
            run = self._runs[id]
            looks: list[Look] = []
            why = self._end(run, watch, now) or self._come(watch, looks, now)
            if why:
                run.is_cancelled, run.why = True, why
                self._unwatch(run)
                return Watched(why)
            missing = tuple(look for look in looks if look.known_since > look.since)
            if missing and not watch.has_looked:
                return Watched(looks=missing)
            run.watched = {each.subscription.digest: each.until for each in watch.events}
            if watch.begins and not run.has_begun:
                run.has_begun = watch.start is not None or watch.finish is not None
                run.deadline = now + watch.finish if watch.finish else None
                run.late = watch.finish_why
            elif not run.has_begun:
                run.deadline, run.late = watch.start, watch.start_why
            self._note(facts)
            self._ring()
            return Watched()

    def unwatch(self, id: RunId, keep: float) -> None:
        with self._lock:
            if id in self._runs:
                self._unwatch(self._runs[id])

    def unwatching(self, id: RunId, digests: Sequence[str], keep: float) -> Commands | None:
        return None

    def _known_since(self, wait: Subscription, now: float) -> float:
        """Return since when events are kept by the shape of a wait; from now on, if it is new."""
        if wait.shape == NO_SHAPE:
            return 0.0
        return self._shapes.setdefault(wait.name, {}).setdefault(wait.shape, now + DRIFT)

    def _look(self, wait: Subscription, now: float) -> Look:
        return Look(wait, max(wait.since, wait.oldest), self._known_since(wait, now))

    def _end(self, run: MemoryRun, watch: Watch, now: float) -> str:
        """Return why a run ends at once, if it does."""
        if run.is_cancelled:
            return run.why or CANCELLED
        if not run.has_begun and watch.start is not None and watch.start <= now:
            return watch.start_why
        if run.has_begun and run.deadline is not None and run.deadline <= now:
            return run.late
        return ""

    def _come(self, watch: Watch, looks: list[Look], now: float) -> str:
        """Return why a run ends by an event that has come, if it does; add each look to *looks*.

        Events after the one that ends the run are not looked at, and their shapes not known.
        """
        for each in watch.events:
            looks.append(self._look(each.subscription, now))
            if self._has_come(each):
                return by_event(each.subscription.name)
        return ""

    def _has_come(self, event: Cancelling) -> bool:
        wait = event.subscription
        since = max(wait.since, wait.oldest)
        return any(since <= sent.at <= event.until for sent in self._past(wait.digest))

    def _cancel_all(self, digest: str, why: str, now: float, limit: int) -> tuple[int, bool]:
        """Cancel at most *limit* runs of an event; return how many, and whether there are more."""
        due = [
            (run.watched[digest], id)
            for id, run in self._runs.items()
            if run.watched.get(digest, -math.inf) >= now
        ]
        return self._cancel_first(sorted(due)[:limit], why, now), len(due) > limit

    def _cancel_first(self, due: Sequence[tuple[float, RunId]], why: str, now: float) -> int:
        for _, id in due:
            self._cancel(id, why, now)
        return len(due)

    def _cancel_late(self, now: float, limit: int) -> None:
        """Cancel the runs whose deadline is over, those that are latest first."""
        times = [(run.deadline, id) for id, run in self._runs.items() if run.deadline is not None]
        late = [(deadline, id) for deadline, id in sorted(times) if deadline <= now]
        for _, id in late[:limit]:
            self._cancel(id, self._runs[id].late, now)

    def _cancel(self, id: RunId, why: str, due: float, lease: float = 0.0) -> bytes | None:
        """Let no further step of a run begin; return the body of its record if it was parked.

        The record is due at *due* then, to end the run.
        """
        run, record, is_parked = self._runs[id], self._outbox.get(id), self._is_parked(id)
        run.is_cancelled, run.why = True, why
        self._unwatch(run)
        if not is_parked:
            return None
        run.owner = run.owner or "cancelled"
        token, body = (record.token, record.body) if record else ("cancelled", run.ending)
        self._outbox[id] = MemoryRecord(token, body, due, lease=lease, is_cancelled=True)
        self._ring()
        return body

    def _is_parked(self, id: RunId) -> bool:
        record = self._outbox.get(id)
        return self._runs[id].is_parked if record is None else record.step is not None

    def _unwatch(self, run: MemoryRun) -> None:
        run.watched, run.deadline = {}, None
