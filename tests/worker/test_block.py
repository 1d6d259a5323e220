"""Section 13: what a process without a worker defers, a worker runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery

from celery_defer import Defer, defer, deferred, deferring, run_id
from tests.support.connections import close
from tests.support.processes import wait_until
from tests.worker.caller import Caller

# redis-py says so of what Celery's result backend calls.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

Web = Callable[..., Any]


@pytest.fixture
def web(caller: Caller, redis_url: str) -> Iterator[Web]:
    """Make the app of a web server, and return its deferred function, which the worker has too."""
    apps = []

    def make(broker: str = redis_url, **settings: Any) -> Any:
        app = Celery("web", broker=broker, backend=redis_url, set_as_current=False)
        app.conf.update(task_default_queue=caller.worker.worker_queue, **settings)
        Defer(app)
        apps.append(app)

        @deferred
        @app.task(name="kinds.plain", shared=False)
        def plain(n: int) -> Any: ...

        return plain

    yield make
    for app in apps:
        close(app)


@pytest.mark.parametrize("way", ["result", "signal"])
def test_13_3_the_block_and_its_deferred_run_link_to_each_other(
    caller: Caller, web: Web, way: str
) -> None:
    task = web(defer_commit=way)
    with deferring(task.app) as parent:
        defer("next", task, n=1)

    run = caller.child(parent.id, "next")["run"]

    assert (run["parent"]["id"], run["parent"]["task"]) == (parent.id, "celery_defer.deferring")
    assert caller.children(parent.id) == [run_id(parent.id, "next")]
    assert caller.meta(run_id(parent.id, "next"))["parent_id"] == parent.id


def test_a_relay_of_a_worker_publishes_what_a_view_could_not(caller: Caller, web: Web) -> None:
    task = web("redis://127.0.0.1:1/0", defer_grace=0.2)
    with deferring(task.app) as parent:
        defer("next", task, n=1)

    assert caller.child(parent.id, "next")["n"] == 1
    wait_until(caller.outbox_is_empty, "the relay has settled the record")


def test_two_blocks_with_one_id_run_a_call_once(caller: Caller, web: Web) -> None:
    task = web()
    for n in (1, 2):
        with deferring(task.app, id="the-same-request") as parent:
            defer("next", task, n=n)

    assert caller.child(parent.id, "next")["n"] == 1
    caller.settle()
    assert caller.marks("began", run_id(parent.id, "next")) == 1
