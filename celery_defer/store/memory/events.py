"""The events of the memory store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from celery_defer.ids import RunId
from celery_defer.store.memory.state import MemoryRecord, MemoryState
from celery_defer.store.values import MOST_BYTES, NO_SHAPE, Emitted, Leased, Rest, SentEvent


class MemoryEvents(MemoryState):
    """Finds waiting runs by looking at all records."""

    def emit(
        self,
        event: SentEvent,
        digests: Mapping[str, str],
        *,
        now: float,
        until: float,
        limit: int,
        keep: float,
        rest: Rest | None = None,
    ) -> Emitted:
        with self._lock:
            since = self._shapes.get(event.name, {})
            shapes = sorted(since, key=lambda shape: (since[shape], shape))
            if [shape for shape in digests if shape != NO_SHAPE] != shapes:
                return Emitted(unknown_shapes=shapes)
            if self._sent.get(event.id) is False:
                return Emitted()
            matching = [digest for digest in dict.fromkeys(digests.values()) if digest]
            if event.id not in self._sent:
                self._keep(replace(event, is_named=False), matching, now - keep)
            waiting = [id for digest in matching for id in self._waiting(digest)]
            woken, has_more = self._wake(waiting, event, limit)
            if has_more and rest:
                self._outbox[rest.id] = MemoryRecord(rest.token, rest.body, until, lease=until)
            if has_more or event.is_named:
                self._sent[event.id] = has_more
            else:
                self._sent.pop(event.id, None)
            free = [id for id in woken if self._outbox[id].lease <= now]
            leases = tuple(self._lease(id, until) for id in free)
            return Emitted(len(woken), leases, has_more=has_more)

    def past(self, name: str, digest: str, since: float, before: float) -> list[SentEvent]:
        return [event for event in self._past(digest) if since <= event.at < before]

    def arrive(self, id: RunId, step: str, now: float, until: float) -> Leased | None:
        with self._lock:
            record = self._outbox.get(id)
            if record is None or record.step != step:
                return None
            is_free = record.lease <= now
            over = record.over if is_free else now
            self._outbox[id] = replace(record, digest="", over=over)
            return self._lease(id, until) if is_free else None

    def _keep(self, event: SentEvent, digests: Sequence[str], first: float) -> None:
        for digest in digests:
            same = event.id, event.memo
            others = [each for each in self._past(digest) if (each.id, each.memo) != same]
            events = sorted([*others, event], key=lambda each: (each.at, each.id))
            self._events[digest] = [each for each in events if each.at >= first]

    def _waiting(self, digest: str) -> list[RunId]:
        """Return the runs that wait for these values, in the order of their ids."""
        return sorted(id for id, record in self._outbox.items() if record.digest == digest)

    def _wake(
        self, waiting: Sequence[RunId], event: SentEvent, limit: int
    ) -> tuple[list[RunId], bool]:
        """Give the event to at most *limit* runs; return these, and whether there are more."""
        woken: list[RunId] = []
        size = 0
        for id in waiting:
            if len(woken) == limit or size >= MOST_BYTES:
                return woken, True
            if self._receives(id, event):
                woken.append(id)
                size += len(self._outbox[id].body)
        return woken, False

    def _receives(self, id: RunId, event: SentEvent) -> bool:
        record, run = self._outbox[id], self._runs[id]
        step = str(record.step)
        if step not in run.memos and event.id in run.received:
            return False  # it waits for the next event
        self._outbox[id] = replace(record, digest="")
        return run.receive(step, event)
