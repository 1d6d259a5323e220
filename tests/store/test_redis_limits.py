"""What the gates of functions leave in a Redis, and how much of it one script reads."""

from __future__ import annotations

import pytest
from redis import Redis

from celery_defer.flow import Gate, Kind, Later
from celery_defer.store import Holding
from celery_defer.testing.store_contract.traffic import DAY, Traffic, concurrency
from tests.support.standing import StandingStore

ALONE = Gate(Kind.SINGLETON, "singleton", "k")


@pytest.fixture
def traffic(store: StandingStore) -> Traffic:
    return Traffic(store, store)


def test_the_mark_of_a_singleton_lives_as_long_as_its_run_waits(
    traffic: Traffic, redis: Redis
) -> None:
    traffic.arrive("busy", concurrency(1))
    ask = traffic.ask("a", ALONE, concurrency(1))
    traffic.claim(ask)
    traffic.store.hold(ask, Holding(0, "record", b"", DAY), now=0.0, until=10.0, keep=8 * DAY)

    mark, record = redis.ttl("defer:flow:mark:task\nsingleton\nk"), redis.ttl("defer:{a}:outbox")
    assert mark >= record > 7 * DAY


def test_a_run_whose_hash_is_lost_leaves_none_that_lasts(traffic: Traffic, redis: Redis) -> None:
    last = Gate(Kind.DEBOUNCE, "debounce", period=5.0)
    for run in "ab":
        traffic.arrive(run, concurrency(1))
    traffic.arrive("c", last)
    redis.delete("defer:{b}:run", "defer:{c}:run")
    assert traffic.end("a") == ["b"]
    traffic.arrive("d", last)

    hashes = list(redis.scan_iter("*}:run"))
    assert len(hashes) == 3
    assert all(int(redis.ttl(key)) > 0 for key in hashes)  # type: ignore[arg-type]


def test_a_limit_that_is_raised_is_told_to_many_keys_in_parts(
    traffic: Traffic, store: StandingStore, redis: Redis
) -> None:
    for run in "ab":
        traffic.arrive(run, concurrency(1, "k"))
    redis.sadd("defer:flow:lines:task\nconcurrency", *map(str, range(5_000)))
    store.set_limit("task", "concurrency", {"limit": 2})
    assert redis.zcard("defer:flow:due") == 2

    looks = 0
    while (due := store.flow_due()) is not None and due <= store.now:
        traffic.drain()
        assert redis.zcard("defer:flow:due") < 3_000
        looks += 1
    assert looks > 4
    assert traffic.let == ["b"]
    assert redis.scard("defer:flow:lines:task\nconcurrency") == 0


def test_one_script_forgets_so_many_runs_whose_records_are_gone(
    traffic: Traffic, store: StandingStore, redis: Redis
) -> None:
    for run in "ab":
        traffic.arrive(run, concurrency(1))
    lane = "defer:flow:lane:task\nconcurrency\n\n"
    redis.zadd(lane, {f"gone-{number}": -1.0 for number in range(4_500)})

    assert traffic.end("a") == []
    assert redis.zcard(lane) == 3_501
    assert traffic.arrive("c", concurrency(1)) == Later("concurrency")
    assert store.flow_due() == store.now
    assert [traffic.drain(), traffic.drain()] == [[], ["b"]]
