"""The batches of the Redis store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from celery_defer.ids import RunId
from celery_defer.store.history import Fact
from celery_defer.store.redis.client import SOON, RedisClient, seconds
from celery_defer.store.values import BatchKind, Leased, Member


class RedisBatches(RedisClient):
    """Appends calls to a record, and keeps which record is open for each kind."""

    def __init__(self, client: Any, prefix: str, clock: Callable[[], float]) -> None:
        super().__init__(client, prefix, clock)
        self._gather = self._script("now", "record", "write", "lease", "batch", "gather")
        self._withdraw = self._script("now", "note", "record", "withdraw")

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
        args: list[Any] = [self._prefix, self._from_now(now), self._from_now(until)]
        args += [seconds(keep), seconds(claims), SOON, len(kinds)]
        for kind in kinds:
            args += [kind.name, kind.owner, kind.token, kind.head]
            args += [kind.most, kind.most_bytes, kind.timeout]
        for at, id, line in members:
            args += [at + 1, id, line]
        return [self._leased(row) for row in self._gather([self._due, self._channel], args)]

    def withdraw(
        self, id: RunId, owner: str, line: bytes, keep: float, *, facts: Sequence[Fact] = ()
    ) -> bool:
        args = [self._prefix, owner, line, seconds(keep)]
        return self._write(self._withdraw, [self._owner(id)], args, facts)
