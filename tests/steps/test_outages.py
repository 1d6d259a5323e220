"""Steps without a store, and with one that is away: the run is tried again."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from celery import Celery

from celery_defer import StoreError, step
from tests.support.flaky import Declined, Flaky
from tests.support.inside import WatchedStore, Worker


def test_a_body_that_swallows_an_outage_of_the_store_is_tried_again(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    @app.task
    def parent() -> str:
        try:
            return str(step.run("answer", lambda: 42))
        except Exception:
            return "guessed"

    store.away = {"recall"}
    result = worker.run(parent)
    store.away = set()

    assert result.state == "RETRY"
    assert worker.drain()[-1].get() == "42"


def test_without_a_store_each_step_is_an_error_that_names_the_setting(
    app: Celery, worker: Worker, ship: Any
) -> None:
    steps = [
        lambda: step.run("one", int),
        lambda: step.sleep("one", 5),
        lambda: step.wait_for_event("one", "event", timeout=5),
        lambda: step.send_event("one", "event"),
        lambda: step.invoke("one", ship, 1),
    ]

    @app.task
    def parent(n: int) -> None:
        steps[n]()

    results = [worker.run(parent, n).result for n in range(len(steps))]

    assert [type(result) for result in results] == [StoreError] * len(steps)
    assert all("set defer_store_url = 'redis://" in str(result) for result in results)


ASKED: dict[str, set[str]] = {
    "run": {"recall", "remember"},
    "sleep": {"recall", "turn", "park"},
    "wait": {"recall", "turn", "park"},
    "send": {"recall", "emit", "remember"},
    "invoke": {"recall", "stage", "turn", "park"},
    "caught": {"remember"},
    "retried": {"park"},
}


@pytest.fixture
def play(ship: Any) -> Any:
    """Return what begins a step of each kind; the flaky ones fail once in a test."""
    flaky, retried = Flaky(Declined()), Flaky(Declined(), Declined())

    def caught() -> None:
        with suppress(Declined):
            step.run("one", flaky)
        step.sleep("two", 5)

    kinds = {
        "run": lambda: step.run("one", lambda: 7),
        "sleep": lambda: step.sleep("one", 5),
        "wait": lambda: step.wait_for_event("one", "event", timeout=5),
        "send": lambda: step.send_event("one", "event"),
        "invoke": lambda: step.invoke("one", ship, 7),
        "caught": caught,
        "retried": lambda: step.run("one", retried, retries=2),
    }
    return lambda kind: kinds[kind]()


@pytest.mark.parametrize(
    ("kind", "method"), [(kind, method) for kind in ASKED for method in sorted(ASKED[kind])]
)
def test_a_run_whose_step_finds_no_store_is_tried_again(
    app: Celery, worker: Worker, store: WatchedStore, play: Any, kind: str, method: str
) -> None:
    errors = []

    @app.task
    def parent() -> str:
        try:
            play(kind)
        except StoreError as error:
            errors.append(str(error))
            raise
        return "done"

    store.away = {method}
    result = worker.run(parent)
    assert result.state == "RETRY"
    store.away = set()
    worker.drain()
    for _ in range(2):  # one for each time that it parks
        worker.wake(60)

    assert result.result == "done"
    assert len(errors) == 1
    assert "finds no store" in errors[0]
    assert "step '" in errors[0]


def test_a_run_is_woken_once_though_that_cannot_be_noted(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    passes = []

    @app.task
    def parent() -> str:
        passes.append(1)
        step.sleep("nap", 5)
        return "awake"

    result = worker.run(parent)
    store.away = {"expect"}
    with suppress(ConnectionError):
        worker.later(5)
    (message,) = worker.published() or [None]
    store.away = set()
    if message:
        worker.trace(message)
    worker.wake(60)

    assert result.result == "awake"
    assert len(passes) == 2


def test_a_task_that_retries_every_error_is_published_once_more_after_an_outage(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    @app.task(autoretry_for=(Exception,), default_retry_delay=0, max_retries=1)
    def parent() -> int:
        return step.run("answer", lambda: 42)

    store.away = {"recall"}
    result = worker.run(parent)
    messages = worker.published()
    assert len(messages) == 1
    for _ in range(3):  # more often than max_retries says
        worker.trace(messages[0])
        messages = worker.published()
    store.away = set()
    worker.trace(messages[0])

    assert result.get() == 42


def test_an_outage_takes_no_retries_from_the_runs_that_come_after_it(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    @app.task(autoretry_for=(Declined,), default_retry_delay=0, max_retries=2)
    def parent() -> int:
        return step.run("answer", flaky)

    flaky = Flaky()
    store.away = {"recall"}
    worker.run(parent)
    store.away = set()
    worker.drain()
    flaky.errors += [Declined(), Declined()]
    result = worker.run(parent)
    worker.drain()

    assert result.get() == 4
