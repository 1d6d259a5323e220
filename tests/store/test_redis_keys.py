"""Which keys the store leaves in a Redis, and for how long."""

from __future__ import annotations

import re
from typing import Any

import pytest
from redis import Redis

from celery_defer.ids import RunId
from celery_defer.store import Claim, RedisStore
from celery_defer.testing.store_contract.shorthand import stage
from tests.support.processes import wait_until
from tests.support.redis import Server

KEEP = 600.0
RUN = RunId("run")


def take_all(store: RedisStore) -> list[Any]:
    return store.take(1e9, 2e9, 99)


def everything(store: RedisStore) -> None:
    """Leave one of each key."""
    stage(store, "waiting", due=10)
    stage(store, "bad", due=10)
    store.quarantine(RunId("bad"), "token", "it is bad", KEEP)
    store.claim(RunId("waiting"), "owner", KEEP)


def test_every_key_has_the_prefix(store: RedisStore, redis: Redis) -> None:
    everything(store)

    keys = list(redis.scan_iter())
    assert {key.partition(b":")[0] for key in keys} == {b"defer"}
    assert len(keys) == 4


def test_every_key_but_the_index_expires(store: RedisStore, redis: Redis) -> None:
    everything(store)

    lasting = [key for key in redis.scan_iter() if redis.ttl(key) < 0]
    assert lasting == [b"defer:due"]


def test_a_settled_run_leaves_nothing_that_lasts(store: RedisStore, redis: Redis) -> None:
    stage(store, "run", due=10)
    store.take(10, 20, 9)
    store.postpone(RUN, "token", 30, b"other")
    store.settle(RUN, "token")
    assert list(redis.scan_iter()) == []

    store.claim(RUN, "owner", 60)

    assert [redis.ttl(key) for key in redis.scan_iter()] == [60]


def test_a_record_is_kept_for_as_long_as_it_was_said(store: RedisStore, redis: Redis) -> None:
    store.stage(RUN, "token", b"body", 10, 90)
    store.take(10, 20, 9)
    store.postpone(RUN, "token", 30, b"other")

    assert 88 <= redis.ttl("defer:{run}:outbox") <= 90


def test_a_later_record_is_kept_anew(store: RedisStore, redis: Redis) -> None:
    store.stage(RUN, "first", b"body", 10, 90)
    store.stage(RUN, "second", b"body", 10, 600)

    assert redis.ttl("defer:{run}:outbox") > 500


def test_a_record_that_leaves_another_in_place_changes_nothing(
    store: RedisStore, redis: Redis
) -> None:
    store.stage(RUN, "first", b"body", 10, 90)
    store.stage(RUN, "second", b"other", 15, 600, replaces=False)

    assert redis.ttl("defer:{run}:outbox") <= 90
    assert redis.zrange("defer:due", 0, -1, withscores=True) == [(b"run", 10)]


def test_a_record_takes_the_place_of_one_that_has_expired(store: RedisStore, redis: Redis) -> None:
    store.stage(RUN, "first", b"body", 10, 90)
    redis.delete("defer:{run}:outbox")

    assert store.stage(RUN, "second", b"other", 15, 600, replaces=False)
    assert [(taken.token, taken.tries) for taken in take_all(store)] == [("second", 1)]


def test_a_record_that_has_expired_is_in_line_until_it_is_settled(
    store: RedisStore, redis: Redis
) -> None:
    stage(store, "gone", due=10)
    stage(store, "here", due=10)
    redis.pexpire("defer:{gone}:outbox", 1)
    wait_until(lambda: not redis.exists("defer:{gone}:outbox"))

    assert [(taken.id, taken.tries) for taken in store.take(10, 20, 9)] == [
        ("gone", 0),
        ("here", 1),
    ]
    assert [taken.tries for taken in store.take(20, 30, 9)] == [0, 2]
    store.settle(RunId("gone"), None)
    assert redis.zrange("defer:due", 0, -1) == [b"here"]


@pytest.mark.parametrize("name", ["gone", "gone too"])
def test_what_is_done_to_an_expired_record_leaves_no_key(
    store: RedisStore, redis: Redis, name: str
) -> None:
    stage(store, name, due=10)
    redis.delete(f"defer:{{{name}}}:outbox")
    store.postpone(RunId(name), "token", 10, b"other")
    store.quarantine(RunId(name), "token", "bad", KEEP)
    store.settle(RunId(name), "token")
    store.take(10, 20, 9)
    store.settle(RunId(name), None)

    assert list(redis.scan_iter()) == []


def test_a_new_entry_in_quarantine_does_not_end_an_older_one_early(
    store: RedisStore, redis: Redis
) -> None:
    for name, keep in (("one", 600), ("two", 60)):
        stage(store, name, due=10)
        store.quarantine(RunId(name), "token", "bad", keep)

    assert redis.ttl("defer:quarantine") > 500


def test_the_keys_of_one_run_are_in_one_slot(store: RedisStore, redis: Redis) -> None:
    stage(store, "run", due=10)
    store.claim(RUN, "owner", KEEP)
    keys = [key for key in redis.scan_iter() if b"run" in key]

    assert {re.search(rb"\{(.*?)\}", key).group(1) for key in keys} == {b"run"}  # type: ignore[union-attr]
    assert len(keys) == 2


@pytest.mark.parametrize("id", ["a b", "a:b", "{a}", "}{", "%s", "ünï", "a'\"\n", "*"])
def test_a_run_may_have_any_id(store: RedisStore, id: str) -> None:
    store.stage(RunId(id), "token", b"body", 10, KEEP)

    assert [taken.id for taken in take_all(store)] == [id]
    assert store.claim(RunId(id), "owner", KEEP) == Claim("owner", is_mine=True)
    store.quarantine(RunId(id), "token", "ünï", KEEP)
    assert [(entry.id, entry.reason) for entry in store.quarantined()] == [(id, "ünï")]


def test_two_prefixes_share_nothing(server: Server, redis: Redis) -> None:
    one, two = (RedisStore(server.client(db=2), f"{name}:") for name in ("one", "two"))
    stage(one, "run", due=10)
    one.claim(RUN, "owner", KEEP)

    assert take_all(two) == []
    assert two.claim(RUN, "other", KEEP).is_mine
