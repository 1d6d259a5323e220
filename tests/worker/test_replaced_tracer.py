"""A pool that replaces Celery's tracer, such as celery-aio-pool, gets the package's hook back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from celery_defer import run_id
from tests.support.processes import CeleryWorker, wait_until


@pytest.fixture(scope="module")
def app(redis_url: str) -> Iterator[Celery]:
    env = {
        "COROUTINES": redis_url,
        "CELERY_CUSTOM_WORKER_POOL": "tests.worker.awaiting_pool:AwaitingPool",
    }
    with (
        CeleryWorker("tests.worker.coroutines", "c@coroutines", "--pool", "custom", env=env),
        Celery(broker=redis_url, backend=redis_url, set_as_current=False) as app,
    ):
        app.conf.task_default_queue = "coroutines"
        yield app


@pytest.mark.parametrize("task", ["plain", "awaited", "waiting", "to a coroutine"])
def test_a_task_defers_there(app: Celery, task: str) -> None:
    child = app.send_task(task, (7,)).get(timeout=20)

    assert app.AsyncResult(child).get(timeout=20) == 14


def test_a_coroutine_that_fails_drops_what_it_deferred(app: Celery) -> None:
    parent = app.send_task("failing", (7,))
    wait_until(lambda: parent.state == "FAILURE", "the parent has failed")

    assert app.AsyncResult(run_id(parent.id, "alarm")).get(timeout=20) == 14
    assert app.AsyncResult(run_id(parent.id, "double")).state == "PENDING"
