"""Histories in Redis beside what should not be there, and more of them than fit."""

from __future__ import annotations

from itertools import islice
from time import time
from typing import Any
from uuid import uuid4

import pytest

from celery_defer.ids import RunId
from celery_defer.store import Fact, Lists, RedisStore, RunState
from tests.support.redis import Server

KEEP = 100
HOUR = 3_600_000


@pytest.fixture
def redis(server: Server) -> Any:
    return server.client()


@pytest.fixture
def store(redis: Any) -> RedisStore:
    return RedisStore(redis, "d:")


def fact(state: RunState, *tags: str, id: str = "") -> Fact:
    return Fact(RunId(id or str(uuid4())), "ship", state, KEEP, b'{"t":"ship"}', tags=tags)


@pytest.mark.parametrize("state", [RunState.SUCCEEDED, RunState.PUBLISHED, RunState.UNKNOWN])
def test_the_history_of_a_later_version_is_left_alone(
    redis: Any, store: RedisStore, state: RunState
) -> None:
    later = b"\x02" + b"B" * 60
    redis.set("d:{a}:history", later, ex=KEEP)

    store.note([fact(state, id="a")])

    assert redis.get("d:{a}:history") == later
    assert store.histories([RunId("a")]) == [None]


def test_a_history_may_be_kept_for_thousands_of_years(store: RedisStore) -> None:
    store.note([fact(RunState.WAITING, id="a")._replace(keep=1e11)])

    [history] = store.histories([RunId("a")])
    assert history is not None


@pytest.mark.parametrize(
    ("key", "made"),
    [
        ("d:tag:k=v", fact(RunState.SUCCEEDED, "k=v")),
        ("d:runs:F:ship", fact(RunState.FAILED)),
    ],
)
def test_a_list_of_many_old_runs_is_trimmed_bit_by_bit_until_none_is_left(
    redis: Any, store: RedisStore, key: str, made: Fact
) -> None:
    redis.zadd(key, {f"old-{n}": time() - 2 * KEEP for n in range(25_000)})

    left = []
    for _ in range(3):
        store.note([made._replace(id=RunId(str(uuid4())))])
        left.append(redis.zcount(key, "-inf", time() - KEEP))
        redis.expire(key, redis.ttl(key) - 1)  # a second later

    assert left == [15_000, 5_000, 0]
    assert redis.ttl(key) >= KEEP


@pytest.mark.parametrize("ahead", [2, 1_000_000])
def test_the_log_of_a_server_whose_time_went_back_has_later_runs(
    redis: Any, store: RedisStore, ahead: int
) -> None:
    redis.xadd("d:log:ship", {"i": "early"}, id=f"{round(time() * 1000) + ahead * HOUR}-0")

    for id in ("one", "two"):
        store.note([fact(RunState.PUBLISHED, id=id)])

    ids = [place.id for place in store.listed(Lists(("ship",)), limit=10)]
    assert list(islice(ids, 2)) == ["two", "one"]
    assert redis.ttl("d:log:ship") >= KEEP


def test_a_log_that_could_not_be_trimmed_by_time_for_longer_than_records_live_begins_anew(
    redis: Any, store: RedisStore
) -> None:
    ahead = round(time() + 2 * KEEP) * 1000
    for n in range(3):
        redis.xadd("d:log:ship", {"i": f"early-{n}"}, id=f"{ahead}-{n + 1}")

    store.note([fact(RunState.PUBLISHED, id="one")])

    [place] = store.listed(Lists(("ship",)), limit=10)
    assert (place.id, place.at == pytest.approx(time(), abs=5)) == ("one", True)


@pytest.mark.parametrize("has_steps", [True, False])
def test_who_may_only_read_may_look_at_the_steps_of_a_run(
    server: Server, redis: Any, store: RedisStore, has_steps: bool
) -> None:
    rights = ["+@all", "-@write"]
    redis.acl_setuser("reader", enabled=True, nopass=True, keys="*", categories=rights)
    if has_steps:
        store.remember(RunId("a"), {"charge": b"a memo"}, KEEP)

    with server.client(username="reader", password="any") as client:
        recalled = RedisStore(client, "d:").recall(RunId("a"), None, 0)

    assert recalled.memos == ({"charge": b"a memo"} if has_steps else {})
