"""A Redis without memory: what is in the store can leave it, and no part of an addition is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from celery_defer.ids import RunId
from celery_defer.store import Leased, RedisStore, Rest, Subscription, Verdict
from celery_defer.testing.store_contract.shorthand import KEEP, emit, event, park, stage, wait_for
from tests.store.operations import OPERATIONS

RUN, NEW = RunId("run"), RunId("new")
REST = Rest(RunId("rest"), "token", b"rest", KEEP)


@contextmanager
def full(redis: Redis) -> Iterator[None]:
    """Let a server refuse what needs memory, as at ``maxmemory`` with ``noeviction``."""
    redis.config_set("maxmemory", 1)
    try:
        yield
    finally:
        redis.config_set("maxmemory", 0)


def wake_one_of_two(store: RedisStore) -> None:
    park(store, "run", wait=wait_for())
    park(store, "other", wait=wait_for())
    emit(store, event(), limit=1, rest=REST)


Operation = Callable[[RedisStore], Any]

#: What takes work out of the store: what was done before, the operation, and what it returns.
DRAINS: dict[str, tuple[Operation, Operation, Any]] = {
    "take": (
        lambda s: stage(s, "run", due=10),
        lambda s: s.take(10, 20, 9),
        [Leased(RUN, "token", b"body", 1)],
    ),
    "postpone": (
        lambda s: stage(s, "run", due=10),
        lambda s: [s.postpone(RUN, "token", 99), s.next_due()],
        [None, 99],
    ),
    "postpone the rest": (
        lambda s: stage(s, "run", due=10),
        lambda s: [s.postpone(RUN, "token", 10, b"rest"), s.take(10, 20, 9)[0].body],
        [None, b"rest"],
    ),
    "settle": (
        lambda s: stage(s, "run", due=10),
        lambda s: [s.settle(RUN, "token"), s.waiting()],
        [None, 0],
    ),
    "quarantine": (
        lambda s: stage(s, "run", due=10),
        lambda s: [s.quarantine(RUN, "token", "bad", KEEP), s.waiting(), s.quarantined()[0].body],
        [None, 0, b"body"],
    ),
    "claim a claimed run": (
        lambda s: s.claim(RUN, "first", KEEP),
        lambda s: s.claim(RUN, "second", KEEP).is_mine,
        False,
    ),
    "recall": (
        lambda s: [s.recall(RUN, 5, KEEP), s.remember(RUN, {"step": b"memo"}, KEEP)],
        lambda s: s.recall(RUN, 9, KEEP).since,
        5,
    ),
    "expect": (park, lambda s: [s.expect([(RUN, "token", 900)]), s.next_due()], [None, 900]),
    "resume": (park, lambda s: s.resume(RUN, 1, "owner", KEEP).claim.is_mine, True),
    "arrive": (park, lambda s: s.arrive(RUN, "wait", 20, 30), Leased(RUN, "token", b"body", 1)),
    "cancel": (
        park,
        lambda s: [s.cancel(RUN, KEEP, 30), s.recall(RUN, None, KEEP).is_cancelled],
        [b"body", True],
    ),
    "go on with an event": (
        wake_one_of_two,
        lambda s: [lease.id for lease in emit(s, event()).leased],
        ["run"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAINS)
def test_a_full_store_drains(store: RedisStore, redis: Redis, name: str) -> None:
    prepare, operation, outcome = DRAINS[name]
    prepare(store)

    with full(redis):
        assert operation(store) == outcome


ADDS: dict[str, Operation] = {
    "stage": lambda s: stage(s, "new", due=10),
    "claim": lambda s: s.claim(NEW, "owner", KEEP),
    "recall": lambda s: s.recall(NEW, 5, KEEP),
    "remember": lambda s: s.remember(NEW, {"step": b"memo"}, KEEP),
    "park": lambda s: park(s, "new"),
    "park for an event": lambda s: park(s, "new", wait=wait_for()),
    "give up": lambda s: s.give_up(NEW, "step", Subscription("e", "[]", "d", 0), b"", KEEP),
    "emit": lambda s: emit(s, event("new")),
    "emit to one of two": lambda s: emit(s, event("new", is_named=True), limit=1, rest=REST),
}


@pytest.mark.parametrize("name", ADDS)
def test_what_a_full_store_refuses_is_not_half_done(
    store: RedisStore, redis: Redis, name: str
) -> None:
    park(store, "first", wait=wait_for())
    park(store, "second", wait=wait_for())
    before = {key: redis.dump(key) for key in redis.scan_iter()}

    with full(redis), pytest.raises(RedisError, match="maxmemory"):
        ADDS[name](store)

    assert {key: redis.dump(key) for key in redis.scan_iter()} == before
    ADDS[name](store)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_store_that_was_full_is_used_again(store: RedisStore, redis: Redis, name: str) -> None:
    with full(redis), suppress(RedisError):
        OPERATIONS[name](store)

    OPERATIONS[name](store)


def test_a_parked_run_of_a_full_store_goes_on(store: RedisStore, redis: Redis) -> None:
    """As a relay and a worker do it: taken, published, expected, and resumed."""
    assert park(store).verdict is Verdict.PARKED

    with full(redis):
        (lease,) = store.take(500, 530, 9)
        store.expect([(lease.id, lease.token, 900)])
        resumed = store.resume(RUN, 1, "owner", KEEP)

    assert resumed.claim.is_mine
    assert store.waiting() == 0
