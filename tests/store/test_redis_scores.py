"""Scores and experiments in a Redis: its keys, its round trips, and what it bears."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from celery_defer.ids import RunId
from celery_defer.store import Fact, RedisStore, RunState, ScoreRow
from celery_defer.testing.store_contract.experiments import CARRIED, carrier
from celery_defer.testing.store_contract.scores import (
    CHILD,
    P,
    assign,
    counted,
    orphans,
    row,
    says,
    scored,
    write,
)
from celery_defer.testing.store_contract.shorthand import KEEP, RUN
from tests.support.proxy import Proxy
from tests.support.redis import Server

DAY = 86_400


def everything(store: RedisStore) -> None:
    """Leave one of each key."""
    assign(store)
    store.note([carrier(RunState.BUFFERED, CHILD), carrier(RunState.SKIPPED, "left-out")])
    write(store, row(1, run=CHILD), carried=CARRIED)
    write(store, row(1, run="nobody"), task="", is_known=False)


def lists(redis: Redis) -> set[bytes]:
    return {key for key in redis.scan_iter("defer:*") if redis.type(key) == b"zset"}


def test_every_key_of_scores_expires(store: RedisStore, redis: Redis) -> None:
    everything(store)

    names = {key.removeprefix(b"defer:").partition(b":")[0] for key in lists(redis)}
    assert names >= {
        b"scored", b"orphans", b"experiments", b"assigned", b"open", b"unsampled",
        b"score-names", b"values",
    }  # fmt: skip
    assert [key for key in redis.scan_iter() if redis.ttl(key) < 0] == []


def test_scores_live_for_as_long_as_they_were_said_to(store: RedisStore, redis: Redis) -> None:
    rows = [row(1)]
    store.score(rows, ["a"], "task", 90 * DAY, is_known=True)
    store.score([row(2)], ["b"], "task", DAY, is_known=True)
    store.assign(P, "exp", "a", 90 * DAY, DAY)

    for key in ("{run}:scores", "{assigned}:experiments"):
        assert 89 * DAY < redis.ttl(f"defer:{key}") <= 90 * DAY
    for key in ("scored", "scored:task", "assigned:exp", "experiments", "open:exp"):
        assert 90 * DAY < redis.ttl(f"defer:{key}") <= 99 * DAY


def test_what_a_run_carries_is_known_for_as_long_as_the_assignment(
    store: RedisStore, redis: Redis
) -> None:
    store.assign(P, "exp", "a", 90 * DAY, DAY)
    store.note([carrier(RunState.SUCCEEDED, CHILD)])

    assert redis.ttl("defer:{child}:experiments") > 89 * DAY
    assert redis.ttl("defer:{child}:history") <= KEEP


def test_lists_are_trimmed_as_they_grow(store: RedisStore, redis: Redis) -> None:
    everything(store)
    ours = [key for key in lists(redis) if not key.startswith((b"defer:runs:", b"defer:tasks"))]
    for key in ours:
        redis.zadd(key, {f"old-{number}": number for number in range(25)})
    for number in range(3):
        assign(store, run=f"run-{number}")
        fact = carrier(RunState.SKIPPED, f"left-out-{number}")
        store.note([carrier(RunState.BUFFERED, CHILD), fact])
        write(store, row(number + 2, run=CHILD), carried=CARRIED)
        write(store, row(number + 2, run="nobody"), task="", is_known=False)
        redis.delete("defer:{nobody}:scores")

    names = {key: redis.zrange(key, 0, -1) for key in ours}
    assert [key for key in ours if any(b"old-" in name for name in names[key])] == []


def test_a_score_and_an_assignment_take_one_round_trip_each(server: Server) -> None:
    with Proxy(server.url) as proxy:
        store = RedisStore(Redis.from_url(proxy.url), "defer:")
        everything(store)  # opens the connection, and loads the scripts
        before = proxy.trips
        write(store, row(2, run=P), row(3, run=P, name="other"))
        assign(store, run="other")

        assert proxy.trips == before + 2


def test_a_score_whose_reply_was_lost_is_written_once(server: Server) -> None:
    with Proxy(server.url) as proxy:
        store = RedisStore(Redis.from_url(proxy.url), "defer:")
        write(store, row(1))
        for keys in ("", "a"):
            proxy.lose_answer_to(b"EVALSHA")
            write(store, row(2, name=f"name{keys}"), keys=keys)

        assert says(store) == [("tone", 1), ("name", 2), ("namea", 2)]


def test_of_two_writers_at_once_one_writes(store: RedisStore) -> None:
    with ThreadPoolExecutor(8) as threads:
        new = list(threads.map(lambda n: write(store, row(n), keys="a"), range(40)))
        variants = set(threads.map(lambda n: assign(store, f"variant-{n}"), range(40)))

    assert sorted(new) == ["0"] * 39 + ["1"]
    assert len(says(store)) == len(variants) == 1


@pytest.mark.parametrize("ahead", [-8 * DAY, 8 * DAY])
def test_a_wrong_clock_of_a_client_changes_nothing(
    server: Server, redis: Redis, ahead: float
) -> None:
    seconds, _ = redis.time()
    store = RedisStore(server.client(db=2), "defer:", lambda: seconds + ahead)
    assign(store)
    write(store, row(1, run=P))

    [[written]] = store.scores_of([P])
    assert abs(written.at - seconds) < 60
    assert list(store.assigned("exp", since=seconds - 60)) == [(P, "a")]
    assert store.open_runs("exp") == {P}
    assert scored(store, since=seconds - 60) == [P]


@pytest.fixture
def full(redis: Redis) -> Iterator[None]:
    redis.config_set("maxmemory", 1)
    yield
    redis.config_set("maxmemory", 0)


def test_a_full_redis_writes_nothing_of_a_score(
    store: RedisStore, redis: Redis, request: pytest.FixtureRequest
) -> None:
    assign(store)
    write(store, row(1, run=P))
    request.getfixturevalue("full")
    for write_it in (
        lambda: write(store, row(2, run=P)),
        lambda: assign(store, "b", run="other"),
    ):
        with pytest.raises(RedisError, match=r"OOM|maxmemory"):
            write_it()
    redis.config_set("maxmemory", 0)

    assert counted(store) == [("tone", P, 1)]
    assert says(store, P) == [("tone", 1)]
    assert list(store.assigned("exp")) == [(P, "a")]


def test_a_score_that_was_refused_half_way_can_be_written_again(
    server: Server, redis: Redis
) -> None:
    redis.acl_setuser("poor", enabled=True, nopass=True, keys="*", commands=["+@all", "-zadd"])
    store = RedisStore(server.client(db=2, username="poor", password="any"), "defer:")
    with pytest.raises(RedisError, match=r"can't run|permission"):
        write(store, row(1), keys="a", carried=CARRIED)
    redis.acl_setuser("poor", enabled=True, nopass=True, keys="*", commands=["+@all"])

    assert write(store, row(1), keys="a", carried=CARRIED) == "1"
    assert counted(store) == [("tone", P, 1)]


def test_a_history_is_written_though_its_experiments_cannot_be(
    store: RedisStore, redis: Redis
) -> None:
    redis.set("defer:open:exp", "not a list")
    store.note([carrier(RunState.RUNNING, CHILD)])

    [history] = store.histories([CHILD])
    assert history is not None
    assert history.state is RunState.RUNNING


@pytest.mark.parametrize("id", ["a b", "a:b", "{a}", "}{", "%s", "ünï", "a'\"\n", "*", "3:abc"])
def test_a_run_and_a_step_may_have_any_id(store: RedisStore, id: str) -> None:
    assign(store, run=id)
    taken = (("exp", "a", RunId(id)),)
    store.note([carrier(RunState.BUFFERED, f"{id}-child", experiments=taken)])
    assert store.open_runs("exp") == {id}
    write(store, row(1, run=id), row(2, run=id, step=id), is_known=False)
    write(store, row(3, run=f"{id}-child"), is_known=False)

    [rows, [child]] = store.scores_of([RunId(id), RunId(f"{id}-child")])
    assert [(each.step, each.value) for each in rows] == [(None, 1), (id, 2)]
    assert counted(store) == [("tone", id, value) for value in (1, 2, 3)]
    assert {run for _, run in store.scored_in("exp")} == {id, f"{id}-child"}
    assert (child.run, orphans(store)) == (f"{id}-child", [id])


def test_many_members_are_read_in_parts(store: RedisStore, redis: Redis) -> None:
    pipeline: Any = redis.pipeline(transaction=False)
    for number in range(6_001):
        at = 1_790_000_000 + number // 3  # some at one time
        pipeline.zadd("defer:assigned:exp", {f"a\0run-{number}": at})
    pipeline.execute()

    runs = [run for run, _ in store.assigned("exp")]
    assert len(runs) == len(set(runs)) == 6_001


def test_a_value_that_moves_while_values_are_read_is_there(store: RedisStore) -> None:
    runs = [RunId(f"run-{number}") for number in range(3_000)]
    for run in runs:
        store.score([ScoreRow(run, "tone", 1)], [""], "t", KEEP, carried={"exp": ("a", run)})
    values = store.values("exp")
    store.score([ScoreRow(runs[0], "tone", 2)], [""], "t", KEEP, carried={"exp": ("a", runs[0])})

    assert {run for _, run, _ in values} == set(runs)


class Meddling(Redis):
    """A client after whose first reading of a list something happens."""

    def meddle(self) -> None: ...

    def evalsha(self, *args: Any, **kwargs: Any) -> Any:
        reply = super().evalsha(*args, **kwargs)
        then, self.meddle = self.meddle, lambda: None  # type: ignore[method-assign]
        then()
        return reply


def test_a_run_that_is_handed_on_while_open_runs_are_read_is_there(
    server: Server, store: RedisStore
) -> None:
    runs = [RunId(f"run-{number:04}") for number in range(3_000)]
    for run in runs:
        store.assign(run, "exp", "a", 9 * DAY, 7 * DAY)
    last, taken = runs[-1], (("exp", "a", runs[-1]),)

    def hand_on() -> None:
        """The run ends, and one that it has deferred is open for a shorter time."""
        store.note([
            carrier(RunState.SUCCEEDED, last, experiments=taken),
            carrier(RunState.PUBLISHED, f"{last}-child", experiments=taken),
        ])  # fmt: skip

    with Meddling.from_url(f"{server.url}/2") as client:
        client.meddle = hand_on
        read = RedisStore(client, "defer:").open_runs("exp")

    assert read == set(runs)


def test_facts_without_experiments_ask_for_none(store: RedisStore, redis: Redis) -> None:
    redis.config_resetstat()
    for state in (RunState.PUBLISHED, RunState.RUNNING, RunState.SUCCEEDED):
        store.note([Fact(RUN, "task", state, KEEP, b"about")])

    stats: Any = redis.info("commandstats")
    assert "cmdstat_hgetall" not in stats
