"""The part of the Redis store that knows of records, and of who runs them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celery_defer.ids import RunId
from celery_defer.store.protocol import Claim, Quarantined, Taken
from celery_defer.store.redis.answers import quarantined
from celery_defer.store.redis.base import RedisBase, address, seconds

__all__ = ["RedisOutbox"]


class RedisOutbox(RedisBase):
    """Keeps each record as one string, and one index of when they are due."""

    def __init__(self, client: Any, prefix: str) -> None:
        super().__init__(client, prefix)
        self._stage = self._script("record", "stage")
        self._settle = self._script("record", "settle")
        self._settle_all = self._script("record", "settle_all")
        self._publish = self._script("record", "publish", "settle")
        self._take = self._script("record", "lease", "take")
        self._postpone = self._script("record", "postpone")
        self._quarantine = self._script("record", "keep", "quarantine")
        self._claim = self._script("claim")

    def stage(
        self, id: RunId, token: str, body: bytes, due: float, keep: float
    ) -> Callable[[], None]:
        args = [id, token, body, due, seconds(keep)]
        return self._sent(self._stage, self._of_record(id), args)

    def stage_in(
        self,
        connection: Mapping[str, Any],
        id: RunId,
        token: str,
        body: bytes,
        *,
        due: float,
        keep: float,
    ) -> Callable[[Any], None] | None:
        ours = self._client.connection_pool.connection_kwargs
        if address(connection) is None or address(connection) != address(ours):
            return None
        # EVAL, for a pipeline cannot load a script that the server has forgotten. What fails in
        # here is no error of the others.
        here, there = (int(each.get("db") or 0) for each in (ours, connection))
        # SELECT holds for the script alone; a user may not be allowed it.
        select = f"redis.call('SELECT', {here})\n" if here != there else ""
        source = f"local done, why = pcall(function()\n{select}{self._stage.script}\nend)\n"
        source += "return done and 1 or tostring(type(why) == 'table' and why.err or why)"
        keys, args = self._of_record(id), [id, token, body, due, seconds(keep)]
        return lambda pipeline: pipeline.eval(source, len(keys), *keys, *args)

    def settle(self, id: RunId, token: str | None) -> None:
        self._settle(self._of_record(id), [id, token or ""])

    def settle_all(self, records: Sequence[tuple[RunId, str]]) -> None:
        keys = [self._due, self._waits, *(self._record(id) for id, _ in records)]
        self._settle_all(keys, [part for record in records for part in record])

    def settle_in(
        self, broker: Mapping[str, Any], id: RunId, token: str
    ) -> Callable[[Sequence[Any]], Callable[[], None]] | None:
        ours = self._client.connection_pool.connection_kwargs
        if address(broker) is None or address(broker) != address(ours):
            return None
        keys = self._of_record(id)
        args = [id, token, *(int(connection.get("db") or 0) for connection in (broker, ours))]
        return lambda commands: self._sent_once(self._publish, keys, [*args, *commands])

    def take(self, now: float, until: float, limit: int) -> list[Taken]:
        start, end = self._record(RunId("\0")).split("\0")
        rows = self._take([self._due, self._waits], [now, until, limit, start, end])
        return [Taken(RunId(id.decode()), token.decode(), body, n) for id, token, body, n in rows]

    def postpone(self, id: RunId, token: str, due: float, body: bytes | None = None) -> None:
        self._postpone([self._record(id), self._due], [id, token, due, body or b""])

    def quarantine(self, id: RunId, token: str, reason: str, keep: float) -> None:
        # The body, which may have any bytes, comes after the first byte 0.
        args = [id, token, reason.replace("\0", ""), seconds(keep)]
        self._quarantine([*self._of_record(id), self._aside], args)

    def quarantined(self) -> list[Quarantined]:
        rows: dict[bytes, bytes] = self._client.hgetall(self._aside)
        return [quarantined(id, row) for id, row in sorted(rows.items())]

    def waiting(self, until: float = math.inf) -> int:
        return int(self._client.zcount(self._due, "-inf", until))

    def claim(self, id: RunId, owner: str, keep: float) -> Claim:
        has, is_mine = self._claim([self._owner(id), self._run(id)], [owner, seconds(keep)])
        return Claim(has.decode(), bool(is_mine))
