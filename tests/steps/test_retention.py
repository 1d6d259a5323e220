"""How long a run's steps are kept, and what becomes of a run whose steps the store has lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from celery_defer import StoreError, cancel, defer, send_event, step
from celery_defer.store import RedisStore
from tests.support.flaky import Declined, Flaky
from tests.support.inside import WatchedStore, Worker
from tests.support.redis import running

DAY = 86_400
MINUTE = 60


# -- lost ---------------------------------------------------------------------------------


def forget_all(store: WatchedStore) -> None:
    store._store._runs.clear()


def forget_one(store: WatchedStore) -> None:
    [run] = store._store._runs.values()
    run.memos.popitem()


@pytest.mark.parametrize("forget", [forget_all, forget_one])
@pytest.mark.parametrize("autoretry", [(), (Declined,)])
def test_a_retry_whose_finished_steps_are_lost_fails_and_does_none_again(
    app: Celery,
    worker: Worker,
    store: WatchedStore,
    forget: Callable[[WatchedStore], None],
    autoretry: Any,
) -> None:
    reserve, charge = Flaky(), Flaky()

    @app.task(bind=True, autoretry_for=autoretry)
    def parent(self: Any) -> None:
        step.run("reserve", reserve)
        step.run("charge", charge)
        if autoretry:
            raise Declined
        raise self.retry(countdown=0)

    run = worker.run(parent)
    forget(store)
    worker.drain()

    assert type(run.result) is StoreError
    assert f"the store has forgotten the steps of run {run.id}" in str(run.result)
    assert (reserve.calls, charge.calls) == (1, 1)


def test_a_retry_of_a_retry_still_knows_what_was_finished(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    charge, attempts = Flaky(), list[int]()

    @app.task(autoretry_for=(Declined,), default_retry_delay=0)
    def parent() -> None:
        attempts.append(1)
        if len(attempts) != 2:
            step.run("charge", charge)
        raise Declined

    run = worker.run(parent)
    for message in worker.published():
        worker.trace(message)
    forget_all(store)
    worker.drain()

    assert type(run.result) is StoreError
    assert charge.calls == 1


def test_a_retry_of_a_run_that_has_finished_no_step_begins_again(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    charge = Flaky(Declined())

    @app.task(autoretry_for=(Declined,), default_retry_delay=0)
    def parent() -> int:
        return step.run("charge", charge)

    run = worker.run(parent)
    forget_all(store)
    worker.drain()

    assert run.result == 2


def test_a_run_whose_store_has_lost_its_waits_fails_when_it_is_woken(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    charge = Flaky()

    @app.task
    def parent() -> None:
        step.run("charge", charge)
        step.sleep("nap", 5)

    run = worker.run(parent)
    forget_all(store)
    worker.wake(5)

    assert type(run.result) is StoreError
    assert charge.calls == 1


def test_a_new_body_without_steps_says_that_what_the_old_one_deferred_is_lost(
    app: Celery,
    worker: Worker,
    store: WatchedStore,
    ship: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    turns = list[int]()

    def order() -> None:
        defer("ship", ship, 1)

    @app.task
    def parent() -> None:
        turns.append(1)
        if len(turns) == 1:
            step.run("order", order)
            step.sleep("nap", 5)

    worker.run(parent)
    forget_all(store)
    worker.wake(5)

    assert "what its steps have deferred is not known" in caplog.text


# -- kept ---------------------------------------------------------------------------------


@pytest.fixture
def redis(app: Celery) -> Iterator[Redis]:
    with running() as server, server.client() as client:
        app._celery_defer.store = RedisStore(server.client())
        yield client


def kept(redis: Redis) -> int:
    """Return for how many seconds the steps of the only run are kept."""
    [key] = redis.scan_iter("*:run")
    return redis.ttl(key)  # type: ignore[return-value]


@pytest.mark.parametrize(
    "wait",
    [
        lambda: {"countdown": 2 * DAY},
        lambda: {"eta": datetime.now(timezone.utc) + timedelta(days=2)},
    ],
    ids=["countdown", "eta"],
)
def test_finished_steps_are_kept_for_a_week_from_the_time_of_a_late_retry(
    app: Celery, worker: Worker, redis: Redis, wait: Any
) -> None:
    @app.task(bind=True)
    def parent(self: Any) -> None:
        step.run("charge", Flaky())
        raise self.retry(**wait())

    worker.run(parent)

    assert 9 * DAY - MINUTE < kept(redis) <= 9 * DAY + MINUTE


def test_finished_steps_of_a_turn_in_progress_are_kept_for_a_week(
    app: Celery, worker: Worker, redis: Redis
) -> None:
    turns = list[int]()

    @app.task
    def parent() -> None:
        step.run("charge", Flaky())
        turns.append(kept(redis))
        step.wait_for_event("go on", "go on", timeout="30d")
        turns.append(kept(redis))

    worker.run(parent)
    send_event("go on")
    worker.drain()

    assert [round(seconds / DAY, 2) for seconds in turns] == [7, 7, 7]


@pytest.mark.parametrize("error", [None, Declined])
def test_a_run_that_has_ended_keeps_its_steps_for_a_day(
    app: Celery, worker: Worker, redis: Redis, error: Any
) -> None:
    @app.task
    def parent() -> None:
        step.run("charge", Flaky())
        if error:
            raise error

    worker.run(parent)

    assert DAY - MINUTE < kept(redis) <= DAY


def test_to_cancel_a_run_that_waits_for_its_retry_does_not_forget_it_before(
    app: Celery, worker: Worker, redis: Redis
) -> None:
    @app.task(bind=True)
    def parent(self: Any) -> None:
        step.run("charge", Flaky())
        raise self.retry(countdown=2 * DAY)

    run = worker.run(parent)
    cancel(run.id)

    assert kept(redis) > 9 * DAY - MINUTE
