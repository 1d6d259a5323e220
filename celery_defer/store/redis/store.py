"""The store in Redis 6.2 or newer: one script for each operation, in the folder ``lua``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from time import time
from typing import Any

from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from celery_defer.store.redis.batches import RedisBatches
from celery_defer.store.redis.details import RedisDetails
from celery_defer.store.redis.events import RedisEvents
from celery_defer.store.redis.history import RedisHistories
from celery_defer.store.redis.outbox import RedisOutbox
from celery_defer.store.redis.repairs import RedisRepairs
from celery_defer.store.redis.runs import RedisRuns
from celery_defer.store.redis.scores import RedisScores
from celery_defer.store.redis.watch import RedisWatching

_TIMEOUTS = {
    # Retry once on a dropped connection, but not on a server that hangs.
    "retry": Retry(NoBackoff(), 1, supported_errors=(exceptions.ConnectionError,)),
    "socket_connect_timeout": 2.0,
    "socket_timeout": 2.0,
}
_MANY = 2**16
# How far two clocks may differ, in seconds, before somebody is told.
_DRIFT = 5.0


class RedisStore(
    RedisOutbox,
    RedisRuns,
    RedisEvents,
    RedisHistories,
    RedisScores,
    RedisBatches,
    RedisRepairs,
    RedisWatching,
    RedisDetails,
):
    """Keeps records under *prefix*; the keys of one run share its id as their hash tag.

    The server's clock decides. *clock* is the one by which callers give times.
    """

    def __init__(
        self, client: Redis, prefix: str = "celery-defer:", clock: Callable[[], float] = time
    ) -> None:
        # The end of a parent waits for this client.
        hurry(client)
        for pool in _pools(client):
            # Celery's `redis_max_connections` is for one backend, and each thread has its own;
            # all threads share this pool.
            pool.max_connections = _MANY
        super().__init__(client, prefix, clock)

    def refusal(self) -> str | None:
        cluster: Any = {}
        with suppress(RedisError):  # it is away, or does not say
            cluster = self._client.info("cluster")
        self._client.connection_pool.disconnect()  # processes may be forked next
        if cluster.get("cluster_enabled"):
            return "it is a Redis Cluster, which has no transactions over all keys"
        return None

    def risks(self) -> list[str]:
        memory: Any = self._client.info("memory")
        persistence: Any = self._client.info("persistence")
        risks = []
        if memory.get("maxmemory") and memory.get("maxmemory_policy") != "noeviction":
            risks.append(
                f"Redis may evict deferred calls (maxmemory-policy {memory['maxmemory_policy']}): "
                "set maxmemory-policy noeviction"
            )
        if not persistence.get("aof_enabled") and not self._saves():
            risks.append(
                "Redis keeps nothing on disk, so a restart of it loses what waits in the outbox: "
                "set appendonly yes"
            )
        ahead = time() - self._time()
        if abs(ahead) > _DRIFT:
            risks.append(
                f"the clock of this machine is {abs(ahead):,.0f} seconds "
                f"{'ahead of' if ahead > 0 else 'behind'} the clock of Redis: "
                "synchronize both, by NTP for example"
            )
        return risks

    def _time(self) -> float:
        """Return the time by the clock of Redis."""
        seconds, microseconds = self._client.time()
        return int(seconds) + int(microseconds) / 1e6

    def _saves(self) -> bool:
        try:
            setting: Any = self._client.config_get("save")
        except RedisError:  # a managed Redis may refuse this
            return True
        return bool(setting.get("save"))


def hurry(client: Any) -> None:
    """Let a client of redis-py, which has not connected yet, not wait or retry for long."""
    for pool in _pools(client):
        pool.connection_kwargs.update(_TIMEOUTS)


def _pools(client: Any) -> Iterator[Any]:
    """Return the client's pool, and those of its sentinels."""
    yield client.connection_pool
    manager = getattr(client.connection_pool, "sentinel_manager", None)
    yield from (sentinel.connection_pool for sentinel in getattr(manager, "sentinels", ()))
