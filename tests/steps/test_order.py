"""A body that takes another way when it is run again, and one that is told to end."""

from __future__ import annotations

from itertools import count

import pytest
from celery import Celery

from celery_defer import StepError, cancel, defer, deferred, step
from celery_defer.model import HEADER
from tests.support.inside import WatchedStore, Worker
from tests.support.stage import Stage


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
    assert "has waited at step 'nap 2', and comes to 'nap 3' without it" in str(result.result)


def test_a_new_version_of_a_body_may_wait_elsewhere_once(
    app: Celery, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    versions = ["old", "new", "new", "new"]

    @app.task
    def parent() -> str:
        version = versions.pop(0)
        step.sleep(f"{version} nap", 5)
        step.sleep("another", 5)
        return version

    assert stage.finish(parent).get() == "new"
    assert "has waited at step 'old nap', and comes to 'new nap' without it" in caplog.text


def test_a_wait_that_is_over_may_be_removed(app: Celery, stage: Stage) -> None:
    turns = count()

    @app.task
    def parent() -> str:
        if next(turns) < 2:
            step.sleep("first", 5)
        step.sleep("second", 5)
        step.sleep("third", 5)
        return "done"

    assert stage.finish(parent).get() == "done"


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


def test_what_a_body_publishes_at_once_is_published_in_one_turn_alone(
    app: Celery, worker: Worker, stage: Stage
) -> None:
    @deferred
    @app.task(shared=False)
    def ship() -> None: ...

    handles = []

    @app.task
    def parent() -> None:
        handles.append(defer("ship", ship.with_options(when="now")))
        step.sleep("nap", 5)
        step.sleep("another", 5)

    result = worker.run(parent)
    published = [m for m in worker.published() if m.headers.get(HEADER)]
    for _ in range(2):
        for message in (woken := stage.later(5)):
            worker.trace(message)
        published += [m for m in woken if m.headers.get(HEADER)]

    assert [message.headers[HEADER]["id"] for message in published] == ["ship"]
    assert {handle.id for handle in handles} == {handles[0].id}
    assert [handle.skipped for handle in handles] == [None] * 3
    assert [child.id for child in result.children] == [handles[0].id]


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
