"""A contract that cannot be read: a task with another type than callers send."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, Task
from celery.app import trace

from celery_defer import defer, deferred
from celery_defer.testing import Simulation
from tests.support.inside import Worker, parent_of


class Event:
    """A row of a database, say, which pydantic does not know."""

    def __init__(self, pk: int) -> None:
        self.pk = pk


class EventTask(Task):  # type: ignore[misc]
    abstract = True

    def __call__(self, *args: Any, event: int, **kwargs: Any) -> Any:
        return self.run(*args, event=Event(event), **kwargs)


@pytest.fixture
def invalidate(app: Celery) -> Any:
    @deferred
    @app.task(base=EventTask, name="invalidate")
    def invalidate(event: Event) -> int:
        return event.pk

    return invalidate


def test_a_worker_starts_and_says_which_task_cannot_be_deferred(
    app: Celery, invalidate: Any, caplog: pytest.LogCaptureFixture
) -> None:
    trace.build_tracer(invalidate.name, invalidate, app=app)  # as a worker does when it starts

    (message,) = caplog.messages
    assert "invalidate cannot be deferred: pydantic cannot check its parameter event" in message


def test_such_a_task_runs_as_it_did_without_the_decorator(invalidate: Any, worker: Worker) -> None:
    result = invalidate.delay(event=7)
    worker.drain()

    assert result.get() == 7


def reason_of(app: Celery, invalidate: Any) -> Any:
    return parent_of(app, lambda: defer("clear", invalidate, event=7).skipped)


def test_a_call_of_it_is_skipped_alike_in_a_worker_eagerly_and_in_a_simulation(
    app: Celery, invalidate: Any, worker: Worker
) -> None:
    parent = reason_of(app, invalidate)
    reasons = {worker.run(parent).get(), parent.apply().get()}
    with Simulation(app) as sim:
        reasons.add(sim.run(parent).result)

    (reason,) = reasons
    assert "pydantic cannot check its parameter event" in reason


def test_a_deferred_run_that_comes_all_the_same_fails_with_that_reason(
    app: Celery, worker: Worker
) -> None:
    """As from a process with another version of the task."""
    sender = Celery("sender", broker=app.conf.broker_url, set_as_current=False)

    @app.task(name="invalidate", base=EventTask, shared=False)
    def invalidate(event: Event) -> int:
        return event.pk

    deferred(invalidate)
    sender.send_task(
        "invalidate",
        kwargs={"event": 7},
        headers={"celery_defer": {"id": "clear", "parent": "parent"}},
        queue=app.conf.task_default_queue,
    )
    (result,) = worker.drain()

    assert result.state == "FAILURE"
    assert "pydantic cannot check its parameter event" in str(result.result)
