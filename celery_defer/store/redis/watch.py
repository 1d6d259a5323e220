"""What ends the runs of the Redis store before their bodies do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from celery_defer.commands import Commands
from celery_defer.ids import RunId
from celery_defer.store.history import Fact
from celery_defer.store.redis.client import SOON, RedisClient, seconds
from celery_defer.store.values import DRIFT, Cancelling, Look, Watch, Watched, by_event


class RedisWatching(RedisClient):
    """Keeps the runs that an event cancels by the digest of its values; one index of deadlines."""

    def __init__(self, client: Any, prefix: str, clock: Callable[[], float]) -> None:
        super().__init__(client, prefix, clock)
        self._watch = self._script("now", "note", "keep", "unwatching", "watch")
        self._unwatch = self._script("unwatching", "unwatch")

    def watch(
        self, id: RunId, watch: Watch, now: float, keep: float, *, facts: Sequence[Fact] = ()
    ) -> Watched:
        keys = [self._run(id), self._deadlines, self._channel]
        args: list[Any] = [id, self._from_now(now), seconds(keep)]
        args += ["" if watch.start is None else self._from_now(watch.start), watch.start_why]
        args += ["" if watch.finish is None else watch.finish, watch.finish_why]
        args += [int(watch.begins), int(watch.has_looked), self._from_now(now + DRIFT), SOON]
        args += [len(watch.events)]
        for event in watch.events:
            wait = event.subscription
            keys += [self._watchers(wait.digest), self._events(wait.digest)]
            keys += [self._shapes(wait.name)]
            args += [wait.shape, wait.since, self._from_now(wait.oldest)]
            args += [self._from_now(event.until), by_event(wait.name)]
        verdict, *rest = self._watch(keys, [*args, *self._fact_args(facts)])
        if verdict == b"ends":
            return Watched(rest[0].decode())
        return Watched(looks=_looks(watch.events, list(map(float, rest))))

    def unwatch(self, id: RunId, keep: float) -> None:
        self._unwatch([self._run(id), self._deadlines], [id, seconds(keep)])

    def unwatching(self, id: RunId, digests: Sequence[str], keep: float) -> Commands | None:
        if not self._server:
            return None
        run = self._run(id)
        rows: list[Any] = [("ZREM", self._watchers(digest), id) for digest in digests]
        rows += [("ZREM", self._deadlines, id), ("HDEL", run, "watch", "late")]
        rows += [("EXPIRE", run, seconds(keep))]
        return Commands(self._server, self._database, rows)


def _looks(events: Sequence[Cancelling], times: Sequence[float]) -> tuple[Look, ...]:
    rows = zip(events, times[::2], times[1::2], strict=False)
    return tuple(Look(event.subscription, since, known) for event, since, known in rows if known)
