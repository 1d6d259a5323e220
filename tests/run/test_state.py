"""What a store writes of a run's state is what Celery's result backend would have written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery.states import STARTED
from redis import Redis

from celery_defer.commands import Commands
from celery_defer.ids import RunId
from celery_defer.run import (
    Scope,
    report_started,
    report_waiting,
    started_commands,
    waiting_commands,
)
from celery_defer.steps.wait import Wait
from celery_defer.store import Arrival, Parking, RedisStore, Verdict
from tests.support.redis import Server

# redis-py says so of what Celery's result backend calls.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

RUN = RunId("run")
KEY = "celery-task-meta-run"


def started(run: Scope) -> Commands:
    commands = started_commands(run)
    assert commands is not None
    return commands


def waiting(run: Scope, wait: Wait) -> Commands:
    commands = waiting_commands(run, wait.meta("nap"), wait.until)
    assert commands is not None
    return commands


def resume(run: Scope, owner: str = "owner", report: Commands | None = None) -> bool:
    assert run.store is not None
    return run.store.resume(RUN, 0, owner, 60, report).has_reported


def park(run: Scope, until: float, report: Commands, turn: int = 0) -> Arrival:
    assert run.store is not None
    parking = Parking(turn, "nap", b"note", "token", b"body", until)
    return run.store.park(RUN, parking, run.now(), 600, report)


def turn_of(run: Scope) -> int:
    assert run.store is not None
    return run.store.recall(RUN, None, 60).turn


def stored(results: Redis) -> tuple[Any, Any]:
    """Return what is stored of the run, and for how long; forget it."""
    found = results.get(KEY), results.ttl(KEY)
    results.flushdb()
    return found


def test_a_start_that_the_store_reports_is_what_celery_stores(run: Scope, results: Redis) -> None:
    report_started(run)
    by_celery = stored(results)

    assert resume(run, report=started(run))

    assert stored(results) == by_celery


@pytest.mark.parametrize("factor", [0.1, 10], ids=["short", "longer than results live"])
def test_a_wait_that_the_store_reports_is_what_celery_stores(
    run: Scope, results: Redis, factor: float
) -> None:
    wait = Wait("sleep", run.now() + factor * run.app.backend.expires)
    report_waiting(run, wait.meta("nap"), wait.until)
    value, ttl = stored(results)

    park(run, wait.until, waiting(run, wait))

    assert stored(results) == (value, pytest.approx(ttl, abs=2))


def test_who_gets_a_turn_is_seen_to_have_started(run: Scope, results: Redis) -> None:
    assert resume(run, report=started(run))

    assert run.app.AsyncResult(RUN).state == STARTED
    assert results.ttl(KEY) > 60
    assert turn_of(run) == 0  # the store is where it was


def test_who_reads_results_is_told_of_a_start(run: Scope, server: Server) -> None:
    reader = server.client().pubsub(ignore_subscribe_messages=True)
    reader.subscribe(KEY)
    reader.get_message(timeout=1)

    resume(run, report=started(run))

    message = reader.get_message(timeout=1)
    assert message is not None
    assert json.loads(message["data"])["status"] == STARTED


def test_a_run_that_parks_is_seen_to_wait(run: Scope, results: Redis) -> None:
    wait = Wait("sleep", run.now() + 300)
    report = waiting(run, wait)
    assert run.store is not None
    assert run.store.reaches(report)

    park(run, wait.until, report)

    seen = run.app.AsyncResult(RUN)
    assert (seen.state, seen.info["step"], seen.info["until"]) == ("WAITING", "nap", wait.shown)
    assert results.ttl(KEY) > 60
    assert turn_of(run) == 1  # the store is where it was


def test_a_run_that_does_not_park_reports_nothing(run: Scope) -> None:
    wait = Wait("sleep", run.now() + 300)

    arrival = park(run, wait.until, waiting(run, wait), turn=3)

    assert arrival.verdict is Verdict.SUPERSEDED
    assert run.app.AsyncResult(RUN).state == "PENDING"


def test_the_state_of_a_long_wait_outlives_it(run: Scope, results: Redis) -> None:
    expires = run.app.backend.expires
    wait = Wait("sleep", run.now() + 10 * expires)

    park(run, wait.until, waiting(run, wait))

    assert results.ttl(KEY) == pytest.approx(11 * expires, abs=5)


def test_another_message_of_a_turn_reports_nothing(run: Scope) -> None:
    resume(run, "first")

    assert not resume(run, "second", started(run))

    assert run.app.AsyncResult(RUN).state == "PENDING"


def test_a_store_reports_nothing_in_a_redis_where_it_is_not(run: Scope, results: Redis) -> None:
    store = run.store
    assert isinstance(store, RedisStore)
    elsewhere = Commands(("elsewhere", 6379, None), 0, [("SETEX", "key", 60, "value")])

    resumed = store.resume(RUN, 0, "owner", 60, elsewhere)

    assert not store.reaches(elsewhere)
    assert resumed.claim.is_mine
    assert not resumed.has_reported
    assert results.keys() == []


class OwnBackend:
    """A result backend of somebody else's."""


def test_a_backend_that_is_not_celerys_own_stores_states_itself(run: Scope) -> None:
    run.task.backend = OwnBackend()

    assert started_commands(run) is None
    assert waiting_commands(run, {}, 0) is None
