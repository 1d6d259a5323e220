"""Records of many megabytes: a relay takes and publishes them, one after the other if need be."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from celery_defer.ids import RunId
from celery_defer.store import Fact, Leased, RedisStore, RunState
from celery_defer.testing.store_contract.shorthand import KEEP, RUN

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


@pytest.mark.parametrize("token", ["token", "other"])
def test_many_facts_are_written_in_parts_and_only_if_it_is_done(
    store: RedisStore, redis: Redis, token: str
) -> None:
    ids = [RunId(f"run-{n}") for n in range(1_750)]
    facts = [Fact(id, "ship", RunState.BUFFERED, KEEP, b"{}") for id in ids]
    store.stage(RUN, "token", b"body", 10, KEEP, facts=facts)
    scripts: Any = redis.info("commandstats")
    published = [Fact(id, "ship", RunState.PUBLISHED, KEEP) for id in ids]

    store.settle(RUN, token, facts=published)

    state = RunState.PUBLISHED if token == "token" else RunState.BUFFERED
    assert {each and each.state for each in store.histories(ids)} == {state}
    assert scripts["cmdstat_evalsha"]["calls"] >= 4
