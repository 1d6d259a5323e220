"""The runs with steps of the Redis store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celery_defer.commands import Commands
from celery_defer.flow import Ask
from celery_defer.ids import RunId
from celery_defer.store.history import Fact
from celery_defer.store.redis.client import SOON, RedisAlarm, number, seconds
from celery_defer.store.redis.flow import ASKS, RedisFlow
from celery_defer.store.redis.replies import admission, arrival, recalled
from celery_defer.store.values import (
    DRIFT,
    Arrival,
    Claim,
    Parking,
    Recalled,
    Resumed,
    Subscription,
)


class RedisRuns(RedisFlow):
    """Keeps the steps of each run in one hash, beside its record in the outbox."""

    def __init__(self, client: Any, prefix: str, clock: Callable[[], float]) -> None:
        super().__init__(client, prefix, clock)
        self._recall = self._script("now", "keep", "recall")
        self._resume = self._script("now", "note", "commands", "resume")
        self._resume_asking = self._script(*ASKS, "resume_asking")
        self._remember = self._script("keep", "remember")
        self._expire = self._script("expire")
        parking = ("note", "record", "write", "keep", "receive", "commands", "park")
        self._park = self._script("now", *parking)
        self._give_up = self._script("now", "keep", "receive", "give_up")
        ending = ("keep", "unwatching", "cancelling")
        self._cancel = self._script("now", "record", "write", *ending, "cancel")
        self._next_due = self._script("now", "next_due")

    def turn(self, id: RunId) -> int:
        turn: Any = self._client.hget(self._run(id), "turn")
        return int(turn or 0)

    def recall(self, id: RunId, now: float | None, keep: float) -> Recalled:
        since = "" if now is None else self._from_now(now)
        return recalled(self._recall([self._run(id)], [since, keep and seconds(keep)]))

    def resume(
        self,
        id: RunId,
        turn: int,
        owner: str,
        keep: float,
        report: Commands | None = None,
        *,
        facts: Sequence[Fact] = (),
        is_retry: bool = False,
        ask: Ask | None = None,
    ) -> Resumed:
        keys = [self._run(id), *self._record_keys(id), *([self._channel] if ask else [])]
        args = [
            turn,
            owner,
            seconds(keep),
            id,
            int(is_retry),
            *(self._ask_args(ask) if ask else []),
        ]
        args += [*self._fact_args(facts), *self._report_args(report)]
        script = self._resume_asking if ask else self._resume
        holder, is_mine, rows, has_reported, *verdict = script(keys, args)
        claim = Claim(holder.decode(), bool(is_mine), admission(*verdict) if verdict else None)
        return Resumed(claim, recalled(rows), has_reported=bool(has_reported))

    def remember(self, id: RunId, memos: Mapping[str, bytes], keep: float) -> bytes:
        pairs = [part for pair in memos.items() for part in pair]
        earlier: bytes | None = self._remember([self._run(id)], [seconds(keep), *pairs])
        return list(memos.values())[-1] if earlier is None else earlier

    def expire(self, id: RunId, turn: int, keep: float) -> None:
        self._expire([self._run(id)], [turn, seconds(keep)])

    def expiry(self, id: RunId, keep: float) -> Commands | None:
        rows = [("EXPIRE", self._run(id), seconds(keep))]
        return Commands(self._server, self._database, rows) if self._server else None

    def reaches(self, report: Commands) -> bool:
        return report.server == self._server

    def park(
        self,
        id: RunId,
        parking: Parking,
        now: float,
        keep: float,
        report: Commands | None = None,
        *,
        facts: Sequence[Fact] = (),
    ) -> Arrival:
        keys = [self._run(id), self._owner(id), *self._record_keys(id), self._channel]
        args: list[Any] = [id, parking.turn, parking.step, parking.note, parking.token]
        args += [parking.body, self._from_now(parking.due), seconds(keep), SOON, parking.ending]
        args += [parking.span]
        if event := parking.subscription:
            keys += [self._events(event.digest), self._shapes(event.name)]
            args += [event.digest, number(event.digest), event.shape, event.since]
            args += [self._from_now(now + DRIFT), self._from_now(event.oldest)]
            early = parking.early or ()
            args += [int(parking.early is not None), len(early)]
            args += [part for each in early for part in (each.id, each.at, each.memo)]
        return arrival(
            self._park(keys, [*args, *self._fact_args(facts), *self._report_args(report)])
        )

    def give_up(
        self, id: RunId, step: str, wait: Subscription, nothing: bytes, keep: float
    ) -> bytes:
        args = [step, wait.since, nothing, seconds(keep)]
        args += [self._from_now(wait.oldest), wait.digest]
        memo: bytes = self._give_up([self._run(id), self._events(wait.digest)], args)
        return memo

    def cancel(
        self, id: RunId, keep: float, until: float, *, only_parked: bool = False, why: str = ""
    ) -> bytes | None:
        keys = [self._run(id), *self._record_keys(id), self._deadlines]
        args = [id, seconds(keep), int(only_parked), self._from_now(until), why]
        body: bytes | None = self._cancel(keys, args)
        return body

    def next_due(self) -> float | None:
        wait = self._next_due([self._due, self._deadlines, self._gates], [])
        return None if wait is None else self._clock() + float(wait)

    def alarm(self) -> RedisAlarm:
        return RedisAlarm(self._client, self._channel, self._clock)
