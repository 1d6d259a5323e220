"""What the calls of a batch hear of its end."""

from __future__ import annotations

from typing import Any

import pytest
from billiard.exceptions import WorkerLostError
from celery import Celery
from celery.signals import task_failure

from celery_defer import (
    Batch,
    RunState,
    cancel,
    current_run,
    deferred,
    record,
    restart,
    run_id,
    step,
)
from tests.support.batches import Ran, Visit, visits_of
from tests.support.inside import WatchedStore, Worker


def test_the_result_of_a_call_names_its_batch(
    app: Celery, worker: Worker, write: Any, ran: Ran
) -> None:
    parent = visits_of(app, worker, write, "1", "2", "3")
    worker.drain()

    [batch] = {app.AsyncResult(run_id(parent.id, page)).get()["batch"] for page in "123"}
    assert app.AsyncResult(batch).get() == "written"


def test_the_result_of_a_call_is_the_error_of_its_batch(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    @deferred(app, name="write", schema=Visit, batch=Batch(2, "10s"))
    def write(visits: list[Visit]) -> None:
        raise ValueError("the warehouse is closed")

    parent = visits_of(app, worker, write, "1", "2")
    worker.drain()

    with pytest.raises(ValueError, match="the warehouse is closed"):
        app.AsyncResult(run_id(parent.id, "1")).get()


def test_a_function_that_ignores_its_result_stores_none_for_its_calls(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    @deferred(app, name="write", schema=Visit, batch=Batch(1, "10s"), ignore_result=True)
    def write(visits: list[Visit]) -> None: ...

    parent = visits_of(app, worker, write, "1")
    worker.drain()

    assert app.AsyncResult(run_id(parent.id, "1")).state == "PENDING"


def test_the_records_of_a_batch_and_of_its_calls_lead_to_each_other(
    app: Celery, worker: Worker, write: Any
) -> None:
    parent = visits_of(app, worker, write, "1", "2")
    waiting = record(run_id(parent.id, "1"))
    worker.wake(10)

    call = record(run_id(parent.id, "1"))
    assert waiting.run.state is RunState.BUFFERED
    assert (call.run.state, call.run.parent) == (RunState.BATCHED, parent.id)
    assert call.run.payload == {"page": "1", "site": "a"}
    assert call.run.batch is not None
    batch = record(call.run.batch)
    assert batch.run.state is RunState.SUCCEEDED
    assert batch.run.payload == [{"page": "1", "site": "a"}, {"page": "2", "site": "a"}]
    assert [(each.parent, each.defer_id) for each in batch.calls] == [
        (parent.id, "1"), (parent.id, "2")
    ]  # fmt: skip


def test_a_batch_that_has_failed_is_restarted_with_its_calls(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    seen = []

    @deferred(app, name="write", schema=Visit, batch=Batch(2, "10s"))
    def write(visits: list[Visit]) -> None:
        seen.append([visit.page for visit in visits])
        if len(seen) == 1:
            raise ValueError
        seen.append([each.defer_id for each in current_run().parents])

    parent = visits_of(app, worker, write, "1", "2")
    worker.drain()
    batch = record(run_id(parent.id, "1")).run.batch
    assert batch is not None

    restart(batch)
    worker.wake(1)

    assert seen == [["1", "2"], ["1", "2"], ["1", "2"]]
    assert app.AsyncResult(run_id(parent.id, "1")).get() == {"batch": batch}


def test_a_batch_that_was_cancelled_as_it_waited_is_revoked_for_its_calls(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    @deferred(app, name="write", schema=Visit, batch=Batch(1, "10s"))
    def write(visits: list[Visit]) -> None:
        step.sleep("nap", 60)

    parent = visits_of(app, worker, write, "1")
    worker.drain()
    batch = record(run_id(parent.id, "1")).run.batch
    assert batch is not None

    cancel(batch)

    assert app.AsyncResult(run_id(parent.id, "1")).state == "REVOKED"


def test_a_batch_whose_child_was_lost_fails_for_its_calls(
    app: Celery, worker: Worker, write: Any
) -> None:
    parent = visits_of(app, worker, write, "1", "2")
    [message] = worker.later(10)
    args, kwargs, _ = message.payload

    task_failure.send(
        sender=app.tasks["write"], task_id=message.headers["id"], args=args, kwargs=kwargs,
        exception=WorkerLostError("lost"),
    )  # fmt: skip

    with pytest.raises(WorkerLostError):
        app.AsyncResult(run_id(parent.id, "1")).get()
