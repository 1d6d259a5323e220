"""The wait of a parked run ends because somebody says so."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import IdError, StepError, StoreError, cancel, deferred, send_event, step, wake
from celery_defer.ids import RunId
from tests.support.inside import WatchedStore, Worker


@pytest.fixture
def sleeper(app: Celery) -> Any:
    @app.task(name="sleeper")
    def sleeper() -> str:
        step.sleep("nap", 3_600)
        return "awake"

    return sleeper


@pytest.fixture
def waiter(app: Celery) -> Any:
    @app.task(name="waiter")
    def waiter() -> Any:
        event = step.wait_for_event("wait", "event", timeout=3_600)
        return event and event.data

    return waiter


@pytest.mark.usefixtures("store")
def test_a_sleep_ends(sleeper: Any, worker: Worker) -> None:
    result = worker.run(sleeper)

    assert wake(result.id) is True
    worker.wake(0)

    assert result.get() == "awake"


@pytest.mark.usefixtures("store")
def test_a_wait_for_an_event_ends_without_one(waiter: Any, worker: Worker) -> None:
    result = worker.run(waiter)
    wake(result.id)
    worker.wake(0)

    assert (result.state, result.result) == ("SUCCESS", None)
    assert send_event("event") == 0


@pytest.mark.usefixtures("store")
def test_an_event_that_comes_before_the_run_goes_on_is_received(
    waiter: Any, worker: Worker
) -> None:
    result = worker.run(waiter)
    wake(result.id)
    send_event("event", 7)
    worker.drain()
    worker.wake(0)

    assert result.get() == 7


@pytest.mark.usefixtures("store")
def test_a_run_that_an_event_has_woken_takes_one_turn(waiter: Any, worker: Worker) -> None:
    result = worker.run(waiter)
    send_event("event", 7)

    assert wake(result.id) is True  # its message may be lost
    messages = worker.later(0)
    for message in messages:
        worker.trace(message)

    assert result.get() == 7
    assert worker.later(99) == []


@pytest.mark.usefixtures("store")
def test_a_retry_is_tried_now(app: Celery, worker: Worker) -> None:
    tries = []

    def fails_once() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError
        return "done"

    @app.task
    def parent() -> str:
        return step.run("call", fails_once, retries=3)

    result = worker.run(parent)
    wake(result.id)
    worker.wake(0)

    assert (result.get(), len(tries)) == ("done", 2)


@pytest.mark.usefixtures("store")
def test_a_run_that_has_invoked_another_waits_for_that(app: Celery, worker: Worker) -> None:
    @deferred(app)
    def child() -> None: ...

    @app.task
    def parent() -> None:
        step.invoke("ask", child)

    result = worker.run(parent)

    with pytest.raises(
        StepError, match=r"step 'ask' of run .* waits for a run that it has invoked"
    ):
        wake(result.id)


@pytest.mark.usefixtures("store")
def test_a_run_that_does_not_wait_is_not_woken(sleeper: Any, worker: Worker) -> None:
    assert wake("unknown") is False

    result = worker.run(sleeper)
    worker.wake(3_600)
    assert wake(result.id) is False

    result = worker.run(sleeper)
    cancel(result.id)
    assert wake(result.id) is False
    assert worker.later(0) == []


def test_a_parent_whose_calls_wait_in_the_outbox_is_not_woken(store: WatchedStore) -> None:
    store.stage(RunId("parent"), "token", b"calls", 1, 600)

    assert wake("parent") is False


@pytest.mark.parametrize("id", ["", None, 7])
@pytest.mark.usefixtures("store")
def test_what_is_no_id_is_refused(id: Any) -> None:
    with pytest.raises(IdError):
        wake(id)


def test_it_is_said_that_the_store_is_away(
    sleeper: Any, worker: Worker, store: WatchedStore
) -> None:
    result = worker.run(sleeper)
    store.away = {"recall"}

    with pytest.raises(StoreError, match=r"is perhaps not woken, because the store .* is away"):
        wake(result.id)
