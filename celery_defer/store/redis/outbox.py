"""The records of the Redis store, and the owners of runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from celery_defer import guard
from celery_defer.flow import Ask
from celery_defer.ids import RunId
from celery_defer.store.history import Fact
from celery_defer.store.redis.client import seconds
from celery_defer.store.redis.flow import ASKS, RedisFlow
from celery_defer.store.redis.replies import admission, quarantined
from celery_defer.store.values import MOST_BYTES, Claim, Depth, Leased, Quarantined

logger = guard.logger(__name__)

_WEEK = 7 * 86_400.0


class RedisOutbox(RedisFlow):
    """Keeps each record as one string, and one index of their due times."""

    def __init__(self, client: Any, prefix: str, clock: Callable[[], float]) -> None:
        super().__init__(client, prefix, clock)
        self._stage = self._script("now", "note", "record", "write", "stage")
        self._settle = self._script("now", "note", "record", "settle")
        self._expect = self._script("now", "record", "expect")
        ends = ("keep", "unwatching", "cancelling", "late")
        self._take = self._script("now", "record", "write", *ends, "lease", "take")
        self._postpone = self._script("now", "note", "record", "write", "postpone")
        self._quarantine = self._script("now", "note", "record", "keep", "quarantine")
        self._claim = self._script("now", "note", "claim")
        self._claim_asking = self._script(*ASKS, "claim_asking")
        self._waiting = self._script("now", "waiting")
        self._depth = self._script("now", "depth")

    def stage(
        self, id: RunId, token: str, body: bytes, due: float, keep: float,
        *, replaces: bool = True, facts: Sequence[Fact] = (),
    ) -> bool:  # fmt: skip
        args = [id, token, body, self._from_now(due), seconds(keep), int(replaces)]
        return self._write(self._stage, self._record_keys(id), args, facts)

    def settle(self, id: RunId, token: str | None, *, facts: Sequence[Fact] = ()) -> None:
        self._write(self._settle, self._record_keys(id), [id, token or ""], facts)

    def expect(self, runs: Sequence[tuple[RunId, str, float]]) -> None:
        keys = [self._due, *(self._record(id) for id, _, _ in runs)]
        rows = ((id, token, self._from_now(look)) for id, token, look in runs)
        self._expect(keys, [part for row in rows for part in row])

    def take(self, now: float, until: float, limit: int) -> list[Leased]:
        start, end = self._record(RunId("\0")).split("\0")
        _, end_of_run = self._run(RunId("\0")).split("\0")
        args = [self._from_now(now), self._from_now(until), limit, MOST_BYTES, start, end]
        rows = self._take([self._due, self._waits, self._deadlines], [*args, end_of_run])
        return [self._leased(row) for row in rows if self._has_text(*row)]

    def postpone(
        self,
        id: RunId,
        token: str,
        due: float,
        body: bytes | None = None,
        *,
        facts: Sequence[Fact] = (),
    ) -> None:
        args = [id, token, self._from_now(due), body or b""]
        self._write(self._postpone, [self._record(id), self._due], args, facts)

    def quarantine(
        self, id: RunId, token: str, reason: str, keep: float, *, facts: Sequence[Fact] = ()
    ) -> None:
        # The body, which may have any bytes, follows the first byte 0.
        args = [id, token, reason.replace("\0", ""), seconds(keep)]
        keys = [*self._record_keys(id), self._quarantined]
        self._write(self._quarantine, keys, args, facts)

    def _has_text(self, id: bytes, token: bytes, *_: object) -> bool:
        """Whether an id in the index is text; put into quarantine what is not of this package."""
        if guard.attempt(id.decode) is not None:
            return True
        logger.error("the outbox has an id that is not text: %r is put into quarantine", id)
        start, end = self._record(RunId("\0")).encode().split(b"\0")
        keys = [start + id + end, self._due, self._waits, self._quarantined]
        self._quarantine(keys, [id, token, "its id is not text", seconds(_WEEK)])
        self._settle(keys[:3], [id, token])
        return False

    def quarantined(self) -> list[Quarantined]:
        rows: dict[bytes, bytes] = self._client.hgetall(self._quarantined)
        return [quarantined(id, row) for id, row in sorted(rows.items())]

    def waiting(self, until: float = math.inf) -> int:
        if until == math.inf:
            return int(self._client.zcount(self._due, "-inf", until))
        return int(self._waiting([self._due], [self._from_now(until)]))

    def depth(self, now: float) -> Depth:
        records, due, late, quarantined = self._depth(
            [self._due, self._quarantined], [self._from_now(now)]
        )
        return Depth(records, due, float(late), quarantined)

    def claim(
        self,
        id: RunId,
        owner: str,
        keep: float,
        *,
        settles: bool = False,
        facts: Sequence[Fact] = (),
        is_retry: bool = False,
        ask: Ask | None = None,
    ) -> Claim:
        keys = [self._owner(id), self._run(id)]
        if ask:
            return self._ask(
                ask, keys, [owner, seconds(keep), id, int(is_retry), int(settles)], facts
            )
        keys += [self._record(id), self._due] if settles else []
        args = [owner, seconds(keep), id, int(is_retry), *self._fact_args(facts)]
        first, is_mine = self._claim(keys, args)
        return Claim(first.decode(), bool(is_mine))

    def _ask(
        self, ask: Ask, keys: Sequence[str], args: Sequence[Any], facts: Sequence[Fact]
    ) -> Claim:
        first, is_mine, *verdict = self._claim_asking(
            [*keys, self._record(ask.run), self._due, self._channel],
            [*args, *self._ask_args(ask), *self._fact_args(facts)],
        )
        return Claim(first.decode(), bool(is_mine), admission(*verdict) if verdict else None)
