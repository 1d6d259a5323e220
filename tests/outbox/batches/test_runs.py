"""The run of a batch: its payloads, its parents, its retries."""

from __future__ import annotations

from typing import Any

from celery import Celery

from celery_defer import Batch, Concurrency, current_run, defer, deferred, run_id, step
from celery_defer.model import HEADER
from tests.support.batches import Visit, visits_of
from tests.support.inside import WatchedStore, Worker, parent_of


def test_the_run_of_a_batch_has_the_parent_of_each_payload(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    runs = []

    @deferred(app, name="write", schema=Visit, batch=Batch(3, "10s"))
    def write(visits: list[Visit]) -> None:
        runs.append(current_run())

    one = visits_of(app, worker, write, "1", "2")
    other = visits_of(app, worker, write.with_options(experiment="exp"), "3")
    worker.drain()

    [run] = runs
    assert [(each.id, each.defer_id) for each in run.parents] == [
        (one.id, "1"), (one.id, "2"), (other.id, "3")
    ]  # fmt: skip
    assert [each.experiment for each in run.parents] == [None, None, "exp"]
    assert run.parents[0].task.startswith("parent-")
    assert run.parents[0].result() is None
    assert (run.parent, run.root_id, run.depth) == (None, run.id, 1)
    assert run.deferred_at is not None


def test_a_run_without_a_batch_has_one_parent_or_none(
    app: Celery, worker: Worker, ship: Any
) -> None:
    runs = []

    @deferred(app, name="one")
    def one() -> None:
        runs.append(current_run())

    def body() -> None:
        runs.append(current_run())
        defer("one", one)

    worker.run(parent_of(app, body))
    worker.drain()

    first, second = runs
    assert first.parents == ()
    assert second.parents == (second.parent,)


def test_a_retry_keeps_its_batch(app: Celery, worker: Worker, store: WatchedStore) -> None:
    seen = []

    @deferred(
        app, name="write", schema=Visit, batch=Batch(2, "10s"),
        autoretry_for=(ValueError,), max_retries=1, default_retry_delay=0,
    )  # fmt: skip
    def write(visits: list[Visit]) -> None:
        run = current_run()
        seen.append((run.id, run.attempt, len(visits), len(run.parents)))
        if run.attempt == 1:
            raise ValueError

    visits_of(app, worker, write, "1", "2")
    worker.drain()

    (id, *_), _ = seen
    assert seen == [(id, 1, 2, 2), (id, 2, 2, 2)]


def test_a_batch_may_wait_at_a_step(app: Celery, worker: Worker, store: WatchedStore) -> None:
    seen = []

    @deferred(app, name="write", schema=Visit, batch=Batch(2, "10s"))
    def write(visits: list[Visit]) -> None:
        step.sleep("nap", 60)
        seen.append(([visit.page for visit in visits], len(current_run().parents)))

    visits_of(app, worker, write, "1", "2")
    worker.drain()
    worker.wake(60)

    assert seen == [(["1", "2"], 2)]


def test_a_payload_that_fits_no_more_fails_the_batch(
    app: Celery, worker: Worker, write: Any, store: WatchedStore
) -> None:
    parent = visits_of(app, worker, write, "1", "2")
    [message] = worker.later(10)
    message.payload[0][0][1]["page"] = 7

    worker.trace(message)

    batch = app.AsyncResult(message.headers["id"])
    assert (batch.state, "1.page: Input should be a valid string" in str(batch.result)) == (
        "FAILURE", True
    )  # fmt: skip
    assert app.AsyncResult(run_id(parent.id, "2")).state == "FAILURE"


def test_a_message_of_a_batch_names_no_parent(app: Celery, worker: Worker, write: Any) -> None:
    visits_of(app, worker, write, "1", "2")

    [message] = worker.later(10)

    assert message.headers["parent_id"] is None
    assert message.headers["root_id"] == message.headers["id"]
    assert message.headers[HEADER]["batch"] == 2


def test_a_limit_holds_for_the_run_of_a_batch_as_a_whole(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    running, most, ran = [], [], []

    @deferred(
        app, name="write", schema=Visit, batch=Batch(2, "10s", key="site"),
        concurrency=Concurrency(1, key="site"),
    )  # fmt: skip
    def write(visits: list[Visit]) -> None:
        running.append(visits)
        most.append(len(running))
        ran.append([visit.page for visit in visits])
        if len(ran) == 1:  # another batch arrives meanwhile
            for message in second:
                worker.trace(message)
        running.pop()

    visits_of(app, worker, write, "1", "2", "3", "4")
    first, *second = worker.published()
    worker.trace(first)
    assert ran == [["1", "2"]]
    worker.drain()

    assert ran == [["1", "2"], ["3", "4"]]
    assert most == [1, 1]
