"""What a person may want to know of a Redis."""

from __future__ import annotations

from typing import Any

from redis.exceptions import RedisError

from celery_defer.store.redis.client import RedisClient
from celery_defer.store.values import Details

# Parked runs whose memory is looked at.
_SAMPLE = 20


class RedisDetails(RedisClient):
    """Describes the server, and what it keeps for the package."""

    def details(self) -> Details:
        server: Any = self._client.info()
        seconds, microseconds = self._client.time()
        now = int(seconds) + int(microseconds) / 1e6
        [last] = self._client.zrevrange(self._due, 0, 0, withscores=True) or [(b"", now)]
        return Details(
            version=f"Redis {server.get('redis_version', 'of an unknown version')}",
            persistence="append-only file" if server.get("aof_enabled") else self._snapshots(),
            policy=str(server.get("maxmemory_policy", "unknown")),
            ahead=self._clock() - now,
            last_due=max(last[1] - now, 0.0),
            bytes_per_run=self._bytes_per_run(),
        )

    def _snapshots(self) -> str:
        try:
            setting: Any = self._client.config_get("save")
        except RedisError:  # a managed Redis may refuse this
            return "unknown"
        return "snapshots" if setting.get("save") else "none"

    def _bytes_per_run(self) -> int | None:
        """Return the memory of a parked run, as the mean of those that wait longest."""
        ids = [id.decode() for id in self._client.zrevrange(self._due, 0, _SAMPLE - 1)]
        with self._client.pipeline(transaction=False) as pipeline:
            for id in ids:
                pipeline.memory_usage(self._run(id))
                pipeline.memory_usage(self._record(id))
            try:
                sizes = pipeline.execute()
            except RedisError:  # as above
                return None
        runs = [
            run + record
            for run, record in zip(sizes[::2], sizes[1::2], strict=True)
            if run and record
        ]
        return round(sum(runs) / len(runs)) if runs else None
