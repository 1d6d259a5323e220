"""The list of a task's parked runs, whose length is a metric, has no run that has gone on."""

from __future__ import annotations

import pytest
from redis import Redis

from celery_defer.ids import RunId
from celery_defer.store import Fact, RedisStore, RunState
from tests.support.redis import Server

RUN = RunId("run")


@pytest.fixture
def store(server: Server, redis: Redis) -> RedisStore:
    """One whose clock goes on: a log in Redis takes no time before 1970."""
    return RedisStore(server.client(db=2), "defer:")


def fact(state: RunState, about: bytes = b'{"t":"napping"}') -> Fact:
    return Fact(RUN, "napping", state, 60, about)


def parked(store: RedisStore) -> int:
    [count] = store.counts(["napping"], [RunState.WAITING])
    return count


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.SUCCEEDED, RunState.FAILED])
def test_a_run_whose_history_has_expired_while_it_was_parked_is_parked_no_more(
    state: RunState, store: RedisStore, redis: Redis
) -> None:
    store.note([fact(RunState.WAITING)])
    [history] = redis.keys("*:history")
    redis.delete(history)
    assert parked(store) == 1

    store.note([fact(state)])

    assert parked(store) == 0


def test_a_run_that_ends_without_a_worker_and_without_a_history_is_parked_no_more(
    store: RedisStore, redis: Redis
) -> None:
    store.note([fact(RunState.WAITING)])
    [history] = redis.keys("*:history")
    redis.delete(history)

    store.note([fact(RunState.ABORTED, b"")])

    assert parked(store) == 0
