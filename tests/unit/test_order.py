"""A body that takes another way when it is run again, and one that is told to end."""

from __future__ import annotations

from itertools import count

import pytest
from celery import Celery

from celery_defer import StepError, cancel, step

from .conftest import WatchedStore, Worker
from .stepping import Stage


@pytest.fixture
def stage(app: Celery, worker: Worker, store: WatchedStore) -> Stage:
    assert app._celery_defer.store is store
    return Stage(app, worker)


def test_a_body_that_waits_elsewhere_each_time_fails_and_says_so(app: Celery, stage: Stage) -> None:
    numbers = count()

    @app.task
    def parent() -> None:
        step.sleep(f"nap {next(numbers)}", 5)

    result = stage.finish(parent)

    assert result.state == "FAILURE"
    assert isinstance(result.result, StepError)
    assert "has waited at step 'nap 0', and comes to 'nap 1' without it" in str(result.result)


def test_another_attempt_of_the_task_may_take_another_way(app: Celery, stage: Stage) -> None:
    @app.task(bind=True)
    def parent(self: object) -> str:
        step.sleep(f"nap {self.request.retries}", 5)  # type: ignore[attr-defined]
        if not self.request.retries:  # type: ignore[attr-defined]
            raise self.retry(countdown=0)  # type: ignore[attr-defined]
        return "rested"

    assert stage.finish(parent).get() == "rested"


def test_a_run_that_is_cancelled_at_work_ends_where_its_next_step_would_begin(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    went_on = []

    @app.task(bind=True)
    def parent(self: object) -> None:
        step.run("first", lambda: cancel(self.request.id))  # type: ignore[attr-defined]
        step.sleep("nap", 5)
        went_on.append("after")

    result = worker.run(parent)

    assert (result.state, went_on) == ("REVOKED", [])
