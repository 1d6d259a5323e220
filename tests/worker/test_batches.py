"""Batches on real workers: whoever is killed, wherever, each call is in one batch that has run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from uuid import uuid4

import pytest
from celery import Celery
from pytest_celery import CeleryTestWorker

from celery_defer import Defer, abort, run_id
from celery_defer.current import extension_of
from celery_defer.views import outbox
from tests.support.processes import wait_until
from tests.worker.caller import Caller
from tests.worker.local import LocalWorker

_CALLS = 25


@pytest.fixture(scope="module")
def batching(redis_url: str) -> Iterator[Caller]:
    """The client of a worker of tests.worker.batching."""
    queue = f"batching-{uuid4().hex[:6]}"
    config = {"defer_key_prefix": f"{queue}:"}
    env = {
        "CELERY_BROKER_URL": redis_url,
        "CELERY_RESULT_BACKEND": redis_url,
        "DEFER_TEST_CONFIG": json.dumps(config),
    }
    worker = LocalWorker(queue, "--concurrency", "2", app="tests.worker.batching", env=env)
    app = Celery("client", broker=redis_url, backend=redis_url, set_as_current=False)
    app.conf.update(task_default_queue=queue, **config)
    Defer(app)
    with ExitStack() as stack:
        stack.callback(worker.teardown)
        worker.ready()
        yield stack.enter_context(Caller(app, CeleryTestWorker(worker, app)))


def ran(caller: Caller, parent: str) -> dict[str, str]:
    """Return how often each call of *parent* was in a batch that has run."""
    return dict(caller.redis.hgetall(f"ran:{parent}"))


def await_gathered(caller: Caller) -> None:
    """Wait until all that is left in the outbox is one batch."""
    wait_until(
        lambda: [row.kind for row in outbox(app=caller.app).rows] == ["batch"],
        "the calls are in a batch",
    )


def settle(caller: Caller) -> None:
    """Wait until nothing is left to be published or run."""
    store = extension_of(caller.app).store
    queue = caller.worker.worker_queue
    wait_until(lambda: store.waiting() == 0, "the outbox is empty")
    wait_until(lambda: caller.redis.llen(queue) == 0, "the queue is empty")
    caller.result(caller.send("batching.view", 0))
    caller.result(caller.send("batching.view", 0))  # one for each process


def test_calls_go_in_batches_and_have_their_results(batching: Caller) -> None:
    parent = batching.send("batching.view", _CALLS)

    batches = [batching.child(parent, f"visit-{n}")["batch"] for n in range(_CALLS)]

    assert ran(batching, parent) == {f"{n}": "1" for n in range(_CALLS)}
    assert sorted(map(batches.count, set(batches))) == [5, 10, 10]
    assert {batching.result(batch) for batch in batches} == {5, 10}


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_a_call_is_aborted_before_its_batch_leaves(batching: Caller) -> None:
    parent = batching.send("batching.view", 2)
    batching.end(parent)
    await_gathered(batching)

    is_aborted = abort(parent, "visit-0", app=batching.app)
    batching.child(parent, "visit-1")

    assert is_aborted
    assert ran(batching, parent) == {"1": "1"}
    assert batching.meta(run_id(parent, "visit-0"))["status"] == "ABORTED"


@pytest.mark.parametrize("point", ["stored", "gathering", "gathered", "publishing", "published"])
def test_a_worker_that_is_killed_loses_no_call_and_runs_none_twice(
    batching: Caller, point: str
) -> None:
    worker = batching.worker.container
    earlier = batching.send("batching.view", 5)  # so that calls of two parents share a batch
    batching.end(earlier)
    await_gathered(batching)
    batching.redis.set(f"kill:{point}", 1)

    parent = batching.send("batching.view", _CALLS)
    wait_until(lambda: not worker.is_running, f"the worker has died where it was {point}")
    worker.restart()
    worker.ready()
    wait_until(lambda: len(ran(batching, parent)) == _CALLS, "all calls have run")
    settle(batching)

    assert ran(batching, earlier) == {f"{n}": "1" for n in range(5)}
    assert ran(batching, parent) == {f"{n}": "1" for n in range(_CALLS)}
