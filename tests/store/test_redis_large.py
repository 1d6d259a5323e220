"""Records of many megabytes: a relay takes and publishes them, one after the other if need be."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from celery_defer.ids import RunId
from celery_defer.store import Leased, RedisStore
from celery_defer.testing.store_contract.shorthand import KEEP

MEGABYTE = 2**20


@pytest.mark.parametrize(("count", "size"), [(30, 4), (10, 11), (2, 40)])
def test_a_hundred_megabytes_that_are_due_are_taken_at_once(
    store: RedisStore, redis: Redis, count: int, size: int
) -> None:
    body = bytes(range(256)) * (size * MEGABYTE // 256)
    for n in range(count):
        store.stage(RunId(f"run-{n}"), "token", body, 10, KEEP)
    redis.config_resetstat()
    taken = list[Leased]()

    while store.waiting(10):
        taken += store.take(10, 40, 100)

    assert len({lease.id for lease in taken}) == count
    assert all(lease.body == body for lease in taken)
    assert max(time_of(redis, "evalsha"), time_of(redis, "getrange")) < 0.5


def time_of(redis: Redis, command: str) -> float:
    """Return for how many seconds a command holds up the server, on average."""
    stats: Any = redis.info("commandstats")
    return float(stats.get(f"cmdstat_{command}", {}).get("usec_per_call", 0)) / 1e6
