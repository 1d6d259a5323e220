"""The events of the Redis store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from celery_defer.ids import RunId
from celery_defer.store.redis.client import RedisClient, number, seconds
from celery_defer.store.redis.replies import emitted, sent
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


class RedisEvents(RedisClient):
    """Keeps events by the digests of their values, and one index of all waits."""

    def __init__(self, client: Any, prefix: str, clock: Callable[[], float]) -> None:
        super().__init__(client, prefix, clock)
        parts = ("record", "write", "keep", "unwatching", "cancelling", "lease", "wake", "emit")
        self._emit = self._script("now", *parts)
        self._arrive = self._script("now", "record", "write", "lease", "arrive")

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
        matching = [digest for digest in dict.fromkeys(digests.values()) if digest]
        keys = [self._due, self._waits, self._shapes(event.name)]
        keys += [f"{self._prefix}event-id:{event.id}", self._record(rest.id if rest else RunId(""))]
        keys += [self._channel, *map(self._events, matching)]
        shapes = "\n".join(shape for shape in digests if shape != NO_SHAPE)
        start, end = self._record(RunId("\0")).split("\0")
        _, end_of_run = self._run(RunId("\0")).split("\0")
        args = [event.id, event.memo, self._from_now(now), self._from_now(until)]
        args += [limit, MOST_BYTES, shapes, start, end, end_of_run, int(event.is_named), keep, most]
        args += [rest.id, rest.token, rest.body, seconds(rest.keep)] if rest else [""] * 4
        args += [event.at, AHEAD, self._deadlines, self._watchers(""), by_event(event.name)]
        args += [part for digest in matching for part in (digest, number(digest))]
        return emitted(self._emit(keys, args), self._leased)

    def past(
        self, name: str, digest: str, since: float, before: float, *, skip: int, limit: int
    ) -> list[SentEvent]:
        rows = self._client.zrangebyscore(
            self._events(digest), since, f"({before}", skip, limit, withscores=True
        )
        return [sent(name, member, at) for member, at in rows]

    def arrive(self, id: RunId, step: str, now: float, until: float) -> Leased | None:
        args = [id, step, self._from_now(now), self._from_now(until)]
        row = self._arrive(self._record_keys(id), args)
        return self._leased(row) if row else None
