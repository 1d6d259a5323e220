"""The events of the memory store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from celery_defer.ids import RunId
from celery_defer.store.memory.state import MemoryRecord
from celery_defer.store.memory.watch import MemoryWatching
from celery_defer.store.values import (
    AHEAD,
    MOST_BYTES,
    NO_SHAPE,
    Emitted,
    Leased,
    Rest,
    SentEvent,
    by_event,
)


class MemoryEvents(MemoryWatching):
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
        most: int,
        rest: Rest | None = None,
    ) -> Emitted:
        with self._lock:
            since = self._shapes.get(event.name, {})
            shapes = sorted(since, key=lambda shape: (since[shape], shape))
            if [shape for shape in digests if shape != NO_SHAPE] != shapes:
                return Emitted(unknown_shapes=shapes)
            if self._sent.get(event.id) is False:
                return Emitted(is_repeat=True)
            is_repeat = event.id in self._sent
            matching = [digest for digest in dict.fromkeys(digests.values()) if digest]
            if not is_repeat and keep > 0:
                sent = min(max(event.at, now), now + AHEAD)
                self._keep(replace(event, at=sent, is_named=False), matching, now - keep, most)
            woken, ended, leases, has_more = 0, 0, list[Leased](), False
            for digest in matching:  # whom it wakes and ends by one of them may not wait any more
                ids, has_others = self._wake(digest, event, limit - woken, leases, now)
                woken, has_more = woken + len(ids), has_more or has_others
                free = [id for id in ids if self._outbox[id].lease <= now]
                leases += [self._lease(id, until, now) for id in free]
                why = by_event(event.name)
                count, has_others = self._cancel_all(digest, why, now, limit - ended)
                ended, has_more = ended + count, has_more or has_others
            if has_more and rest:
                self._outbox[rest.id] = MemoryRecord(rest.token, rest.body, now)
                self._ring()
            if has_more or event.is_named:
                self._sent[event.id] = has_more
            else:
                self._sent.pop(event.id, None)
            return Emitted(
                woken, tuple(leases), has_more=has_more, is_repeat=is_repeat, cancelled=ended
            )

    def past(
        self, name: str, digest: str, since: float, before: float, *, skip: int, limit: int
    ) -> list[SentEvent]:
        events = [event for event in self._past(digest) if since <= event.at < before]
        return events[skip : skip + limit]

    def arrive(self, id: RunId, step: str, now: float, until: float) -> Leased | None:
        with self._lock:
            record = self._outbox.get(id)
            if record is None or record.step != step:
                return None
            is_free = record.lease <= now
            over = record.over if is_free else now
            self._outbox[id] = replace(record, digest="", over=over)
            return self._lease(id, until, now) if is_free else None

    def _keep(self, event: SentEvent, digests: Sequence[str], first: float, most: int) -> None:
        for digest in digests:
            same = event.id, event.memo
            past = self._past(digest)
            after = past[-1].at + 0.000001 if past else 0  # in the order in which they came
            others = [each for each in past if (each.id, each.memo) != same]
            events = [*others, replace(event, at=max(event.at, after))]
            self._events[digest] = [each for each in events if each.at >= first][-most:]

    def _waiting(self, digest: str) -> list[RunId]:
        """Return the runs that wait for these values, in the order of their ids."""
        return sorted(id for id, record in self._outbox.items() if record.digest == digest)

    def _wake(
        self, digest: str, event: SentEvent, limit: int, leased: Sequence[Leased], now: float
    ) -> tuple[list[RunId], bool]:
        """Give the event to at most *limit* runs; return these, and whether there are more."""
        woken: list[RunId] = []
        size = sum(len(lease.body) for lease in leased)
        for id in self._waiting(digest):
            if len(woken) == limit or size >= MOST_BYTES:
                return woken, True
            if self._receives(id, event):
                woken.append(id)
                record = self._outbox[id]
                size += len(record.body) if record.lease <= now else 0
        return woken, False

    def _receives(self, id: RunId, event: SentEvent) -> bool:
        record, run = self._outbox[id], self._runs[id]
        step = str(record.step)
        if step not in run.memos and event.id in run.received:
            return False  # it waits for the next event
        self._outbox[id] = replace(record, digest="")
        # An earlier event may be on its way to the run, but slower.
        since = max(run.since or 0.0, run.cursors.get(record.digest, 0.0))
        past = (each for each in self._past(record.digest) if each.at >= since)
        first = next((each for each in past if each.id not in run.received), event)
        run.cursors[record.digest] = max(since, first.at)
        return run.receive(step, first)
