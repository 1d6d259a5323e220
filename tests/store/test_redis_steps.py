"""What runs with steps, and the events that they wait for, leave in a Redis."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from redis import Redis

from celery_defer.ids import RunId
from celery_defer.store import NO_SHAPE, Parking, RedisStore
from celery_defer.testing.store_contract.shorthand import emit, event, learn, park, past, wait_for
from tests.support.redis import Server

KEEP = 600.0
RUN = RunId("run")
INDEXES = {b"defer:due", b"defer:waits"}
BOTH = {NO_SHAPE: "by-name", '["a"]': "by-a"}


def everything(store: RedisStore) -> None:
    """Leave one of each key."""
    store.recall(RUN, 10, KEEP)
    store.remember(RUN, {"charge": b"memo"}, KEEP)
    learn(store, wait_for("by-a", '["a"]'))
    emit(store, event(is_named=True), BOTH)
    park(store, wait=wait_for("by-a", '["a"]', since=30))
    park(store, "two", due=15)


def test_every_key_has_the_prefix(store: RedisStore, redis: Redis) -> None:
    everything(store)

    assert {re.split("[{:]", key.decode().removeprefix("defer:"))[0] or "run"
            for key in redis.scan_iter("defer:*")} == {
        "run", "due", "waits", "came", "shapes", "event-id",
    }  # fmt: skip
    assert list(redis.scan_iter("[^d]*")) == []


def test_every_key_but_the_indexes_expires(store: RedisStore, redis: Redis) -> None:
    everything(store)

    lasting = {key for key in redis.scan_iter() if redis.ttl(key) < 0}  # type: ignore[operator]
    assert lasting == INDEXES


STEPS: dict[str, Callable[[RedisStore], object]] = {
    "turn": lambda store: store.turn(RUN),
    "recall": lambda store: store.recall(RUN, 10, KEEP),
    "look": lambda store: store.recall(RUN, None, KEEP),
    "resume": lambda store: store.resume(RUN, 0, "owner", KEEP),
    "remember": lambda store: store.remember(RUN, {"charge": b"memo"}, KEEP),
    "expire": lambda store: store.expire(RUN, 0, KEEP),
    "park": park,
    "park for an event": lambda store: park(store, wait=wait_for()),
    "look for values": lambda store: park(store, wait=wait_for("by-a", '["a"]'), early=None),
    "park for values": lambda store: park(store, wait=wait_for("by-a", '["a"]')),
    "cancel": lambda store: store.cancel(RUN, KEEP, 9e9),
    "cancel if parked": lambda store: store.cancel(RUN, KEEP, 9e9, only_parked=True),
    "next_due": lambda store: store.next_due(),
    "expect": lambda store: store.expect([(RUN, "token", 99)]),
    "emit": lambda store: emit(store, event()),
    "emit once": lambda store: emit(store, event(is_named=True)),
    "past": past,
    "arrive": lambda store: store.arrive(RUN, "wait", 20, 30),
}


@pytest.mark.parametrize("name", STEPS)
def test_whatever_is_done_first_leaves_no_key_for_ever(
    store: RedisStore, redis: Redis, name: str
) -> None:
    STEPS[name](store)

    lasting = {key for key in redis.scan_iter() if redis.ttl(key) < 0}  # type: ignore[operator]
    assert lasting <= INDEXES


@pytest.mark.parametrize("lost", ["run", "outbox"])
@pytest.mark.parametrize("name", STEPS)
def test_whatever_is_done_to_what_was_lost_leaves_no_key_for_ever(
    store: RedisStore, redis: Redis, name: str, lost: str
) -> None:
    park(store, wait=wait_for())
    redis.delete(f"defer:{{run}}:{lost}")
    STEPS[name](store)

    lasting = {key for key in redis.scan_iter() if redis.ttl(key) < 0}  # type: ignore[operator]
    assert lasting <= INDEXES


def test_an_event_that_was_sent_already_does_not_keep_a_run_for_ever(
    store: RedisStore, redis: Redis
) -> None:
    emit(store, event())
    park(store, wait=wait_for())

    assert redis.ttl("defer:{run}:run") > 0  # type: ignore[operator]


def test_what_a_parked_run_remembers_is_kept_for_as_long_as_its_record(
    store: RedisStore, redis: Redis
) -> None:
    store.recall(RUN, 10, 60)
    park(store, wait=wait_for("by-a", '["a"]'))

    kept = [redis.ttl(key) for key in redis.scan_iter() if key not in INDEXES]
    assert len(kept) == 3
    assert min(kept) > KEEP - 5  # type: ignore[type-var, operator]


def test_a_short_wait_does_not_end_what_others_wait_for(store: RedisStore, redis: Redis) -> None:
    park(store, wait=wait_for("by-a", '["a"]'))
    short = Parking(0, "wait", b"note", "token", b"body", 20, wait_for("by-a", '["a"]'))
    store.park(RunId("two"), short, 10, 60)

    [shapes] = redis.scan_iter("defer:shapes:*")
    assert redis.ttl(shapes) > KEEP - 5  # type: ignore[operator]


def test_a_resumed_run_is_kept_no_longer_than_any_other(store: RedisStore, redis: Redis) -> None:
    park(store)
    store.resume(RUN, 1, "owner", 60)

    assert redis.ttl("defer:{run}:run") == 60


@pytest.mark.parametrize(
    "end",
    [
        lambda store: store.settle(RUN, "token"),
        lambda store: store.resume(RUN, 1, "owner", KEEP),
        lambda store: store.cancel(RUN, KEEP, 9e9),
        lambda store: store.quarantine(RUN, "token", "it is bad", KEEP),
        lambda store: store.stage(RUN, "later", b"calls", 10, KEEP),
        lambda store: store.stage(RUN, "token", b"calls", 10, KEEP, replaces=False),
        lambda store: park(store, turn=1, step="next"),
        lambda store: store.arrive(RUN, "wait", 20, 30),
        lambda store: emit(store, event()),
    ],
    ids=[
        "settle",
        "resume",
        "cancel",
        "quarantine",
        "stage",
        "stage again",
        "park",
        "arrive",
        "emit",
    ],
)
def test_who_waits_no_longer_is_not_among_those_who_wait(
    store: RedisStore, redis: Redis, end: Callable[[RedisStore], object]
) -> None:
    park(store, wait=wait_for())
    end(store)

    assert not redis.exists("defer:waits")


@pytest.mark.parametrize(
    "look", [lambda store: emit(store, event()), lambda store: store.take(9e9, 9e9, 10)],
    ids=["emit", "take"],
)  # fmt: skip
def test_a_run_whose_record_has_expired_is_not_among_those_who_wait_after_a_look(
    store: RedisStore, redis: Redis, look: Callable[[RedisStore], object]
) -> None:
    park(store, "gone", wait=wait_for())
    park(store, "here", wait=wait_for("other"))
    redis.delete("defer:{gone}:outbox")

    look(store)

    assert redis.zrange("defer:waits", 0, -1) == [b"here"]


def test_values_that_have_a_number_in_common_are_told_apart(
    store: RedisStore, redis: Redis
) -> None:
    park(store, "one", wait=wait_for("by-one"))
    park(store, "two", wait=wait_for("by-two"))
    for id in ("one", "two"):  # as if by chance, which is one in 2**48
        redis.zadd("defer:waits", {id: redis.zscore("defer:waits", "two")})  # type: ignore[dict-item]

    found = emit(store, event(), {NO_SHAPE: "by-two"})

    assert [taken.id for taken in found.leased] == ["two"]
    assert redis.zrange("defer:waits", 0, -1) == [b"one"]


def test_an_event_of_no_name_of_its_own_leaves_no_id(store: RedisStore, redis: Redis) -> None:
    for id in ("one", "two"):
        park(store, id, wait=wait_for())
    emit(store, event(), limit=1)
    emit(store, event(), limit=1)

    assert list(redis.scan_iter("defer:event-id:*")) == []


def test_the_keys_of_one_run_are_in_one_slot(store: RedisStore, redis: Redis) -> None:
    everything(store)
    keys = [key for key in redis.scan_iter() if b"{run}" in key]

    assert sorted(keys) == [b"defer:{run}:outbox", b"defer:{run}:run"]


def test_two_databases_share_nothing_but_a_look(server: Server, redis: Redis) -> None:
    one, two = (RedisStore(server.client(db=db), "defer:") for db in (2, 5))
    park(one, wait=wait_for())

    assert emit(two, event()).woken == 0
    assert two.next_due() is None
    assert two.recall(RUN, 10, KEEP).turn == 0


def test_two_prefixes_share_nothing(server: Server, redis: Redis) -> None:
    one, two = (RedisStore(server.client(db=2), f"{name}:") for name in ("one", "two"))
    park(one, wait=wait_for())
    alarm = two.alarm()
    while alarm.wait(0.05) is not None:
        pass
    park(one, "other", due=15)

    assert emit(two, event()).woken == 0
    assert alarm.wait(0.05) is None
    assert two.recall(RUN, 10, KEEP).turn == 0


@pytest.mark.parametrize("step", ["a b", "{a}:b", "}{", "%s", "ünï", "a'\"\n", "*"])
def test_a_step_may_have_any_id(store: RedisStore, step: str) -> None:
    park(store, step=step, wait=wait_for())
    emit(store, event())

    assert store.recall(RUN, 10, KEEP).memos == {step: b"event"}


# -- alarm ----------------------------------------------------------------------------------


def test_who_begins_to_listen_looks_once(store: RedisStore) -> None:
    alarm = store.alarm()

    assert alarm.wait(5) == 0.0
    assert alarm.wait(0.05) is None


def test_who_was_cut_off_looks_once(server: Server, store: RedisStore) -> None:
    alarm = store.alarm()
    alarm.wait(5)
    server.client().client_kill_filter(_type="pubsub")

    found = [alarm.wait(0.1) for _ in range(10)]

    assert 0.0 in found
    park(store, due=15)
    assert alarm.wait(5) == 15


def test_a_run_that_parks_for_long_wakes_nobody(store: RedisStore) -> None:
    alarm = store.alarm()
    alarm.wait(5)
    park(store, now=10, due=71)

    assert alarm.wait(0.05) is None


# -- many events -----------------------------------------------------------------------------


def test_receiving_many_events_one_after_the_other_does_not_read_them_all_each_time(
    server: Server, store: RedisStore, redis: Redis
) -> None:
    for number in range(200):
        emit(store, event(f"event-{number}", at=20 + number))
    redis.config_resetstat()
    memos = [park(store, step=f"step-{n}", wait=wait_for()).memo for n in range(200)]

    asked: dict[str, dict[str, int]] = redis.info("commandstats")  # type: ignore[assignment]
    assert memos == [b"event-%d" % n for n in range(200)]
    assert asked["cmdstat_hsetnx"]["calls"] < 3 * 200


# -- many shapes -----------------------------------------------------------------------------


def test_an_event_may_be_waited_for_by_very_many_shapes(store: RedisStore) -> None:
    shapes = [f'["{number}"]' for number in range(1_000, 9_500)]  # Lua unpacks 8,000
    for shape in shapes:
        park(store, shape, wait=wait_for("some", shape))
    told = emit(store, event()).unknown_shapes

    assert told == shapes


def test_a_run_that_has_gone_on_is_kept_as_long_as_its_wait_asks(
    store: RedisStore, redis: Redis
) -> None:
    park(store)
    store.expire(RUN, 0, 60)
    assert redis.ttl("defer:{run}:run") > KEEP - 5  # type: ignore[operator]

    store.expire(RUN, 1, 60)
    assert redis.ttl("defer:{run}:run") == 60
