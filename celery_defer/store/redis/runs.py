"""The part of the Redis store that knows of runs with steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery_defer.ids import RunId
from celery_defer.store.events import DRIFT, Subscription
from celery_defer.store.protocol import Claim
from celery_defer.store.redis.answers import arrival, recalled
from celery_defer.store.redis.base import RedisBase, address, number, seconds
from celery_defer.store.redis.nudges import RedisNudges
from celery_defer.store.runs import Arrival, Parking, Recalled, Resumed, Told

__all__ = ["RedisSteps"]

# A relay looks for what is due at least as often.
_SOON = 60.0


class RedisSteps(RedisBase):
    """Keeps what a run remembers in one hash, beside its record in the outbox."""

    def __init__(self, client: Any, prefix: str) -> None:
        super().__init__(client, prefix)
        self._recall = self._script("keep", "recall")
        self._resume = self._script("tell", "resume")
        self._remember = self._script("keep", "remember")
        self._park = self._script("record", "keep", "receive", "tell", "park")
        self._give_up = self._script("keep", "receive", "give_up")
        self._cancel = self._script("record", "cancel")

    def recall(self, id: RunId, now: float | None, keep: float) -> Recalled:
        first = "" if now is None else now
        return recalled(self._recall([self._run(id)], [first, seconds(keep)]))

    def resume(
        self, id: RunId, turn: int, owner: str, keep: float, told: Told | None = None
    ) -> Resumed:
        telling = self._telling(told) if told else []
        answer = self._resume([self._run(id)], [turn, owner, seconds(keep), *telling])
        claim = Claim(answer[0].decode(), bool(answer[1]))
        return Resumed(claim, recalled(answer[2]), has_told=bool(telling) and claim.is_mine)

    def remember(self, id: RunId, memos: Mapping[str, bytes], keep: float) -> bytes:
        pairs = [part for pair in memos.items() for part in pair]
        answer: bytes = self._remember([self._run(id)], [seconds(keep), *pairs])
        return answer

    def tells(self, told: Told) -> bool:
        return bool(self._telling(told))

    def park(
        self, id: RunId, parking: Parking, now: float, keep: float, told: Told | None = None
    ) -> Arrival:
        keys = [self._run(id), self._owner(id), self._record(id), self._due, self._waits]
        keys += [self._nudge]
        args: list[Any] = [id, parking.turn, parking.step, parking.note, parking.token]
        args += [parking.body, parking.due, seconds(keep), now + _SOON]
        args += (self._telling(told) if told else []) or [""] * 4
        if event := parking.subscription:
            keys += [self._came(event.digest), self._shapes(event.name)]
            args += [event.digest, number(event.digest), event.shape, event.since, now + DRIFT]
            args += [int(parking.early is not None)]
            args += [part for each in parking.early or () for part in (each.id, each.memo)]
        return arrival(self._park(keys, args))

    def give_up(
        self, id: RunId, step: str, wait: Subscription, nothing: bytes, keep: float
    ) -> bytes:
        args = [step, wait.since, nothing, seconds(keep)]
        memo: bytes = self._give_up([self._run(id), self._came(wait.digest)], args)
        return memo

    def cancel(
        self, id: RunId, keep: float, until: float, *, only_parked: bool = False
    ) -> bytes | None:
        keys = [self._run(id), self._record(id), self._due, self._waits]
        answer: bytes | None = self._cancel(keys, [id, seconds(keep), int(only_parked), until])
        return answer

    def next_due(self) -> float | None:
        first = self._client.zrange(self._due, 0, 0, withscores=True)
        return float(first[0][1]) if first else None

    def nudges(self) -> RedisNudges:
        return RedisNudges(self._client, self._nudge)

    def _telling(self, told: Told) -> list[Any]:
        """Answer the arguments that let a script write *told*; none if it cannot reach there."""
        ours = self._client.connection_pool.connection_kwargs
        if address(told.connection) is None or address(told.connection) != address(ours):
            return []
        database = int(told.connection.get("db") or 0)
        return [database, round(told.expires or 0), told.key, told.value]
