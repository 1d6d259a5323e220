"""What a person may do to the records and runs of the Redis store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery_defer.ids import RunId
from celery_defer.store.redis.client import RedisClient, seconds
from celery_defer.store.values import OutboxRecord, Restart

# In bytes: of a longer body nobody needs to see what is in it.
_LONGEST = 256 * 1024


class RedisRepairs(RedisClient):
    """Makes records due, takes them out of quarantine, and begins another turn of a run."""

    def __init__(self, client: Any, prefix: str, clock: Callable[[], float]) -> None:
        super().__init__(client, prefix, clock)
        self._peek = self._script("now", "record", "peek")
        self._hasten = self._script("now", "record", "write", "hasten")
        self._release = self._script("now", "record", "write", "release")
        self._restart = self._script("now", "record", "write", "keep", "unwatching", "restart")

    def peek(self, limit: int) -> list[OutboxRecord]:
        start, end = self._record(RunId("\0")).split("\0")
        rows = self._peek([self._due], [limit, _LONGEST, start, end])
        now = self._clock()
        return [
            OutboxRecord(RunId(id.decode(errors="replace")), now + float(wait), tries, body)
            for id, wait, tries, body in rows
        ]

    def hasten(self, id: RunId, now: float) -> bool:
        keys = [self._record(id), self._due, self._channel]
        return bool(self._hasten(keys, [id, self._from_now(now)]))

    def release(self, id: RunId, token: str, body: bytes, due: float, keep: float) -> bool:
        keys = [self._record(id), self._due, self._quarantined, self._channel]
        return bool(self._release(keys, [id, token, body, self._from_now(due), seconds(keep)]))

    def discard(self, id: RunId) -> bool:
        return bool(self._client.hdel(self._quarantined, id))

    def restart(self, id: RunId, restart: Restart, due: float, keep: float) -> bool:
        keys = [self._run(id), self._record(id), self._due, self._channel, self._deadlines]
        args: list[Any] = [id, restart.turn, restart.step, restart.token, restart.body]
        args += [self._from_now(due), seconds(keep), restart.ending]
        steps = [f"{kind}:{step}" for step in restart.forgets for kind in "mwt"]
        events = [f"e:{event}" for event in restart.events]
        args += [len(steps) + len(events), *steps, *events]
        return bool(self._restart(keys, args))
