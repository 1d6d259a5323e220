"""A run that is invoked and cannot start: its invoker hears of it, or it is published again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, Task

from celery_defer import StepError, abort, defer, deferred, step
from celery_defer.testing import Simulation
from tests.support.inside import WatchedStore, Worker

HOUR = 3_600.0
DAY = 24 * HOUR


class Busy(Task):
    """A task of which a run exists, in the shape of celery-singleton's ``Singleton``."""

    def apply_async(self, *_: Any, **__: Any) -> Any:
        return self.AsyncResult("the-other")


class Queued(Task):
    """A task that is queued, in the shape of celery-once's ``QueueOnce`` with ``graceful``."""

    def apply_async(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(id=None, state="REJECTED")


class Locked(Task):
    """As ``QueueOnce`` without ``graceful``."""

    def apply_async(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("already queued")


class Moody(Task):
    """A task that is published at one time, and not at another."""

    is_locked = False

    def apply_async(self, *args: Any, **options: Any) -> Any:
        if self.is_locked:
            raise RuntimeError("already queued")
        return super().apply_async(*args, **options)


def parent_of(app: Celery, child: Any) -> Any:
    @app.task(shared=False)
    def parent() -> Any:
        return step.invoke("child", child)

    return parent


def child_of(app: Celery, **options: Any) -> Any:
    @deferred
    @app.task(shared=False, name="child", **options)
    def child() -> str:
        return "done"

    return child


# -- it cannot be published ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        (Busy, "apply_async of child has published nothing, because run the-other exists"),
        (Queued, "apply_async of child has published nothing, and returned namespace(id=None"),
        (Locked, "was never published"),
    ],
)
@pytest.mark.usefixtures("store")
def test_a_step_that_invokes_what_its_task_does_not_publish_fails_at_once(
    app: Celery, worker: Worker, base: Any, reason: str
) -> None:
    result = worker.run(parent_of(app, child_of(app, base=base)))

    assert isinstance(result.result, StepError)
    assert reason in str(result.result)


def test_a_step_whose_run_no_broker_takes_fails_at_once(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    result = worker.run(parent_of(app, child_of(app, serializer="none such")))

    assert isinstance(result.result, StepError)
    assert "was never published: cannot be published" in str(result.result)
    assert store.waiting() == 0


@pytest.mark.usefixtures("store")
def test_the_body_may_catch_it_and_go_on(app: Celery, worker: Worker) -> None:
    child = child_of(app, base=Busy)

    @app.task
    def parent() -> str:
        try:
            step.invoke("child", child)
        except StepError as error:
            caught.append(str(error))
        step.sleep("nap", 60)
        return "done"

    caught: list[str] = []
    result = worker.run(parent)
    worker.wake(60)

    assert result.result == "done"
    assert caught[0] == caught[1]


@pytest.mark.usefixtures("store")
def test_a_run_that_a_relay_cannot_publish_fails_its_invoker(app: Celery, worker: Worker) -> None:
    child = child_of(app, base=Moody)
    result = worker.run(parent_of(app, child))
    worker.published()
    child.is_locked = True
    for _ in range(3):
        worker.wake(HOUR)

    assert "was never published" in str(result.result)


# -- its message vanishes ------------------------------------------------------------------------


def test_an_invoked_run_whose_message_is_purged_is_published_again(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    result = worker.run(parent_of(app, child_of(app)))
    assert worker.published()
    worker.wake(HOUR)

    assert result.result == "done"
    assert store.waiting() == 0


@pytest.mark.usefixtures("store")
def test_an_invoked_run_whose_message_is_late_runs_once(app: Celery, worker: Worker) -> None:
    started = []

    @deferred
    @app.task(shared=False)
    def child() -> str:
        started.append(1)
        return "done"

    result = worker.run(parent_of(app, child))
    messages = [*worker.published(), *worker.later(HOUR), *worker.later(2 * HOUR)]
    assert len(messages) == 3
    for message in messages:
        worker.trace(message)
    worker.drain()

    assert result.result == "done"
    assert len(started) == 1


@pytest.mark.usefixtures("store")
def test_an_invoked_run_that_has_expired_fails_its_invoker(app: Celery, worker: Worker) -> None:
    """RabbitMQ drops such a message, and no worker sees it."""
    result = worker.run(parent_of(app, child_of(app).with_options(expires=60)))
    assert worker.published()
    for _ in range(2):
        worker.wake(HOUR)

    assert "it has expired before a worker could start it" in str(result.result)


@pytest.mark.usefixtures("store")
def test_an_invoked_run_that_no_worker_starts_for_a_week_fails_its_invoker(
    app: Celery, worker: Worker
) -> None:
    result = worker.run(parent_of(app, child_of(app)))
    for _ in range(10):
        worker.later(DAY)  # and all its messages are lost
    for _ in range(2):
        worker.wake(HOUR)

    assert "no worker has started it for" in str(result.result)


@pytest.mark.usefixtures("store")
def test_an_invoked_run_that_is_aborted_fails_its_invoker(app: Celery, worker: Worker) -> None:
    result = worker.run(parent_of(app, child_of(app)))
    assert abort(result.id, "\0child")
    worker.drain()
    worker.wake(60)

    assert "ABORTED" in str(result.result)


def test_an_invoked_run_that_waits_is_not_forgotten_when_its_invoker_runs_again(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    @deferred
    @app.task(shared=False)
    def child() -> str:
        step.sleep("nap", 60)
        return "done"

    result = parent_of(app, child).apply_async(queue=worker.apart)
    (message,) = worker.published()
    store.away = {"park"}  # the worker is killed before it parks its run
    worker.trace(message)
    store.away = set()
    for each in worker.published():
        worker.trace(each)  # the child parks; the parent is tried again
    worker.drain()
    worker.wake(60)
    worker.wake(60)

    assert app.AsyncResult(result.id).result == "done"


# -- calls of defer ------------------------------------------------------------------------------


def test_an_invoked_run_of_a_simulation_is_told_too(app: Celery, sim: Simulation) -> None:
    run = sim.run(parent_of(app, child_of(app, base=Busy)))

    assert "run the-other exists" in str(run.exception)


@pytest.mark.usefixtures("store")
def test_who_waits_for_a_call_that_no_broker_takes_gets_an_error(
    app: Celery, worker: Worker
) -> None:
    child = child_of(app, serializer="none such")

    @app.task
    def parent() -> str:
        return defer("child", child).id

    result = worker.run(parent)

    with pytest.raises(Exception, match="was never published"):
        app.AsyncResult(result.result).get(timeout=1)
