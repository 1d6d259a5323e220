"""A run that a debounce holds back ends as REPLACED when a later call takes its place."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import Debounce, defer, deferred, signals, step
from celery_defer.views import record
from tests.support.inside import WatchedStore, Worker, parent_of


@pytest.fixture(autouse=True)
def _one_clock(worker: Worker, store: WatchedStore) -> None:
    store._store.clock = lambda: worker.now


@pytest.fixture
def last(app: Celery) -> Any:
    @deferred(app, debounce=Debounce(30), name="last", shared=False)
    def last(n: int) -> int:
        return n

    return last


def messages_of(app: Celery, worker: Worker, task: Any, *numbers: int) -> list[Any]:
    """Return the messages of runs of one parent, in order."""

    def parent() -> None:
        for n in numbers:
            defer(f"n{n}", task, n=n)

    worker.run(parent_of(app, parent))
    return worker.published()


def test_a_relay_ends_a_replaced_run_if_the_process_dies_that_has_replaced_it(
    app: Celery, worker: Worker, store: WatchedStore, last: Any
) -> None:
    told: list[Any] = []
    signals.run_dropped.connect(lambda **facts: told.append(facts), weak=False, dispatch_uid=1)
    first, second = messages_of(app, worker, last, 1, 2)
    worker.trace(first)
    store.away = {"recall"}  # which is what it does next
    worker.trace(second)
    before = app.AsyncResult(first.headers["id"]).state
    store.away = set()
    try:
        worker.later(10)
    finally:
        signals.run_dropped.disconnect(dispatch_uid=1)

    result, shown = app.AsyncResult(first.headers["id"]), record(first.headers["id"], app=app).run
    assert (before, result.state, shown.state.value) == ("HELD", "REPLACED", "replaced")
    assert result.result["defer_id"] == "n1"
    assert second.headers["id"] in result.result["reason"]
    assert [(each["run_id"], each["by"]) for each in told] == [
        (first.headers["id"], second.headers["id"])
    ]


def test_the_invoker_of_a_replaced_run_gets_the_reason_at_once(
    app: Celery, worker: Worker, last: Any
) -> None:
    invoker = parent_of(app, lambda: step.invoke("call", last, n=1), acks_late=True)
    result = worker.run(invoker)
    worker.drain()
    assert result.state == "WAITING"

    (second,) = messages_of(app, worker, last, 2)
    worker.trace(second)
    worker.drain()

    assert result.state == "FAILURE"
    assert "REPLACED: its debounce" in str(result.result)
