"""Calls that are aborted before their batch leaves, or too late."""

from __future__ import annotations

from typing import Any

from celery import Celery

from celery_defer import RunState, abort, defer, record, run_id
from tests.support.batches import Ran, visits_of
from tests.support.inside import WatchedStore, Worker, parent_of


def test_a_call_is_aborted_before_its_batch_leaves(
    app: Celery, worker: Worker, write: Any, ran: Ran
) -> None:
    parent = visits_of(app, worker, write, "1", "2")

    assert abort(parent.id, "1")
    assert abort(parent.id, "1")  # it stays so
    worker.wake(10)

    assert ran == [["2"]]
    assert app.AsyncResult(run_id(parent.id, "1")).state == "ABORTED"
    assert record(run_id(parent.id, "1")).run.state is RunState.ABORTED


def test_a_batch_whose_calls_are_all_aborted_does_not_run(
    app: Celery, worker: Worker, write: Any, store: WatchedStore
) -> None:
    parent = visits_of(app, worker, write, "1", "2")

    abort(parent.id, "1")
    abort(parent.id, "2")

    assert worker.later(10) == []
    assert store.records() == []


def test_a_call_whose_batch_has_left_is_not_aborted(
    app: Celery, worker: Worker, write: Any, ran: Ran
) -> None:
    parent = visits_of(app, worker, write, "1", "2")
    [message] = worker.later(10)

    assert not abort(parent.id, "1")
    worker.trace(message)

    assert ran == [["1", "2"]]


def test_a_call_that_was_aborted_before_its_parent_ended_is_in_no_batch(
    app: Celery, worker: Worker, write: Any, ran: Ran
) -> None:
    def body() -> None:
        defer("1", write, page="1").abort()
        defer("2", write, page="2")

    worker.run(parent_of(app, body))
    worker.wake(10)

    assert ran == [["2"]]
