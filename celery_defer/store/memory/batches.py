"""The batches of the memory store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from celery_defer.ids import RunId
from celery_defer.store.history import Fact
from celery_defer.store.memory.history import MemoryHistories
from celery_defer.store.memory.state import MemoryBatch, MemoryRecord
from celery_defer.store.owner import batch_id, is_of_other_task
from celery_defer.store.values import BatchKind, Leased, Member


class MemoryBatches(MemoryHistories):
    """Lets records grow that are not due yet."""

    def gather(
        self,
        kinds: Sequence[BatchKind],
        members: Sequence[Member],
        *,
        now: float,
        until: float,
        keep: float,
        claims: float,
    ) -> list[Leased]:
        with self._lock:
            full = []
            for at, id, line in members:
                kind = kinds[at]
                if self._is_owned(id, kind):
                    continue
                batch = self._open(kind, now)
                if batch and batch.size + len(line) > kind.most_bytes:
                    full.append(self._close(kind, batch, until, now))
                    batch = None
                batch = batch or self._begin(kind, batch_id(kind.name, id), now, keep)
                self._owners[id] = f"{kind.owner}.{batch.id}"
                batch = self._grow(kind, batch, line)
                if batch.count >= kind.most:
                    full.append(self._close(kind, batch, until, now))
            return full

    def withdraw(
        self, id: RunId, owner: str, line: bytes, keep: float, *, facts: Sequence[Fact] = ()
    ) -> bool:
        with self._lock:
            batch = RunId(self._owners.get(id, "").partition(".")[2])
            record = self._outbox.get(batch)
            if record is None or record.tries:
                return False
            self._outbox[batch] = replace(record, body=record.body + line)
            self._owners[id] = owner
            self._note(facts)
            return True

    def _is_owned(self, id: RunId, kind: BatchKind) -> bool:
        """Whether the run of a call has an owner, or has parked."""
        owner = self._owners.get(id)
        if owner is not None and not is_of_other_task(owner, f"{kind.owner}."):
            return True
        return id in self._runs and self._runs[id].turn > 0

    def _open(self, kind: BatchKind, now: float) -> MemoryBatch | None:
        """Return the batch that takes calls of a kind, if there is one."""
        batch = self._batches.get(kind.name)
        record = self._outbox.get(batch.id) if batch else None
        if batch is None or record is None or record.token != batch.token:
            return None
        return None if record.tries or record.due <= now else batch

    def _begin(self, kind: BatchKind, id: RunId, now: float, keep: float) -> MemoryBatch:
        due = now + kind.timeout
        self._outbox[id] = MemoryRecord(kind.token, kind.head, due, expires=due + keep)
        self._ring()
        return MemoryBatch(id, kind.token)

    def _grow(self, kind: BatchKind, batch: MemoryBatch, line: bytes) -> MemoryBatch:
        record = self._outbox[batch.id]
        self._outbox[batch.id] = replace(record, body=record.body + line)
        batch = replace(batch, count=batch.count + 1, size=batch.size + len(line))
        self._batches[kind.name] = batch
        return batch

    def _close(self, kind: BatchKind, batch: MemoryBatch, until: float, now: float) -> Leased:
        del self._batches[kind.name]
        return self._lease(batch.id, until, now)
