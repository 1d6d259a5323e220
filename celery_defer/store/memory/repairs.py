"""What a person may do to the records and runs of the memory store."""

from __future__ import annotations

from dataclasses import replace

from celery_defer.ids import RunId
from celery_defer.store.memory.state import MemoryRecord
from celery_defer.store.memory.watch import MemoryWatching
from celery_defer.store.values import Details, OutboxRecord, Restart


class MemoryRepairs(MemoryWatching):
    """Makes records due, takes them out of quarantine, and begins another turn of a run."""

    def peek(self, limit: int) -> list[OutboxRecord]:
        with self._lock:
            first = sorted((record.due, id) for id, record in self._outbox.items())[:limit]
            records = [(id, self._outbox[id]) for _, id in first]
        return [OutboxRecord(id, each.due, each.tries, each.body) for id, each in records]

    def hasten(self, id: RunId, now: float) -> bool:
        with self._lock:
            record = self._outbox.get(id)
            if record is None:
                return False
            is_leased = record.lease > now
            self._outbox[id] = replace(record, over=now) if is_leased else replace(record, due=now)
            self._ring()
            return True

    def release(self, id: RunId, token: str, body: bytes, due: float, keep: float) -> bool:
        with self._lock:
            if id not in self._quarantine or id in self._outbox:
                return False
            del self._quarantine[id]
            self._outbox[id] = MemoryRecord(token, body, due, expires=due + keep)
            self._ring()
            return True

    def details(self) -> Details:
        return Details("this process", "none", "noeviction")

    def discard(self, id: RunId) -> bool:
        with self._lock:
            return self._quarantine.pop(id, None) is not None

    def restart(self, id: RunId, restart: Restart, due: float, keep: float) -> bool:
        with self._lock:
            run = self._runs[id]
            if run.turn != restart.turn or run.is_parked or id in self._outbox:
                return False
            run.turn, run.owner, run.is_cancelled = run.turn + 1, None, False
            for step in restart.forgets:
                run.memos.pop(step, None)
                run.waits.pop(step, None)
                run.spans.pop(step, None)
            run.ending, run.why, run.has_begun = restart.ending, "", False
            self._unwatch(run)
            run.received -= set(restart.events)
            run.cursors.clear()
            self._outbox[id] = MemoryRecord(
                restart.token, restart.body, due, step=restart.step, expires=due + keep
            )
            self._ring()
            return True
