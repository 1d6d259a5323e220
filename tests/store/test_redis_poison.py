"""Keys that the package did not write, or of which a part is not as it wrote it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from celery_defer.ids import RunId
from celery_defer.store import RedisStore
from celery_defer.testing.store_contract.shorthand import KEEP, emit, event, park, stage, wait_for

BAD = RunId("bad")
KEY, RUN_KEY = "defer:{bad}:outbox", "defer:{bad}:run"


def put(value: bytes) -> Callable[[Redis], Any]:
    return lambda redis: redis.set(KEY, value)


def spoil(at: int, value: bytes) -> Callable[[Redis], Any]:
    return lambda redis: redis.setrange(KEY, at, value)


#: What stands at the key of a record.
POISON: dict[str, Callable[[Redis], Any]] = {
    "a text": put(b"garbage"),
    "a long text": put(b"garbage" * 1000),
    "the packed fields of an earlier release": put(
        b"\x97\xa5token\xa4body\xa3two\xc2\xc2\xc2\xc2"  # whose `tries` is a text
    ),
    "half a record": lambda redis: redis.set(KEY, redis.getrange(KEY, 0, 20)),
    "a token that is no text": spoil(30, b"\xff\x00"),
    "a step that is longer than the record": spoil(24, b"\x7f\xff\xff\xff"),
    "a hash": lambda redis: [redis.delete(KEY), redis.hset(KEY, "a", "x")],
    "a list": lambda redis: [redis.delete(KEY), redis.lpush(KEY, "x")],
}


@pytest.fixture(params=POISON)
def poisoned(request: pytest.FixtureRequest, store: RedisStore, redis: Redis) -> RedisStore:
    """A store in which a run is parked whose record is poisoned, between two that are not."""
    for due, id in enumerate(("first", BAD, "last"), start=10):
        park(store, id, due=due, wait=wait_for())
    POISON[request.param](redis)
    return store


def test_a_poisoned_record_holds_back_no_other(poisoned: RedisStore) -> None:
    leases = {lease.id: lease.body for lease in poisoned.take(99, 200, 9)}

    assert (leases["first"], leases["last"]) == (b"body", b"body")


def test_a_poisoned_record_is_put_aside_with_all_that_is_in_it(
    poisoned: RedisStore, redis: Redis
) -> None:
    raw = redis.get(KEY) if redis.type(KEY) == b"string" else b""

    (lease,) = (lease for lease in poisoned.take(99, 200, 9) if lease.id == BAD)
    poisoned.quarantine(BAD, lease.token, "it is bad", KEEP)

    (entry,) = poisoned.quarantined()
    assert (entry.id, entry.body) == (BAD, raw)
    assert poisoned.waiting() == 2


def test_an_event_reaches_the_runs_beside_a_poisoned_one(poisoned: RedisStore) -> None:
    emitted = emit(poisoned, event())

    assert {lease.id for lease in emitted.leased} == {"first", "last"}


def test_the_runs_beside_a_poisoned_one_are_expected(poisoned: RedisStore) -> None:
    poisoned.expect([(RunId(id), "token", 500) for id in ("first", BAD, "last")])

    assert {lease.id for lease in poisoned.take(499, 600, 9)} == {BAD}


def test_a_later_call_of_the_run_replaces_a_poisoned_record(poisoned: RedisStore) -> None:
    assert not poisoned.stage(BAD, "new", b"new", 5, KEEP, replaces=False)
    assert poisoned.stage(BAD, "new", b"new", 5, KEEP)

    assert [lease.body for lease in poisoned.take(5, 99, 9)] == [b"new"]


def test_an_event_reaches_the_runs_beside_one_whose_steps_are_something_else(
    store: RedisStore, redis: Redis
) -> None:
    for id in ("first", BAD, "last"):
        park(store, id, wait=wait_for())
    redis.set(RUN_KEY, "garbage")

    emitted = emit(store, event())

    assert {lease.id for lease in emitted.leased} == {"first", "last"}


@pytest.mark.parametrize("id", [b"\xff\xfe", b"\xed\xa0\x80"])
def test_an_id_that_is_no_text_holds_back_no_other(
    store: RedisStore, redis: Redis, id: bytes
) -> None:
    stage(store, "good", due=10)
    redis.zadd("defer:due", {id: 0})
    redis.set(b"defer:{%b}:outbox" % id, redis.get("defer:{good}:outbox"))

    assert "good" in [lease.id for lease in store.take(10, 20, 9)]
    assert [entry.body for entry in store.quarantined()] == [b"body"]
    assert store.waiting() == 1


def test_a_record_of_a_later_form_is_left_alone(store: RedisStore, redis: Redis) -> None:
    stage(store, BAD, due=10)
    redis.setrange(KEY, 1, b"\x02")
    later = redis.get(KEY)

    assert store.take(10, 20, 9) == []
    assert emit(store, event()).woken == 0

    assert redis.get(KEY) == later
    assert store.next_due() == 20
