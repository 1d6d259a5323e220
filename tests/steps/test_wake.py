"""A run that wakes has the message that it began with."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from celery import Celery, Task

from celery_defer import current_run, defer, deferred, step
from celery_defer.testing import Simulation
from tests.support.flaky import Flaky
from tests.support.inside import Worker


def test_a_woken_run_is_seen_at_work(app: Celery, sim: Simulation) -> None:
    states = []

    @app.task(bind=True)
    def parent(self: Task[Any, Any]) -> None:
        states.append(app.AsyncResult(self.request.id).state)
        step.sleep("nap", 5)

    sim.run(parent)
    sim.advance("1h")

    assert states == ["PENDING", "STARTED"]


def first_and_woken(worker: Worker, send: Any) -> tuple[Any, Any]:
    """Return the message that *send* sends, and the one by which its run is woken."""
    send()
    (message,) = worker.published()
    worker.trace(message)
    (woken,) = worker.later(5)
    return message, woken


def told(message: Any) -> dict[str, Any]:
    """What of a message must be the same after a wake-up."""
    headers = {
        name: value
        for name, value in message.headers.items()
        if name not in {"celery_defer_wake", "expires", "eta", "origin"}
    }
    return {
        **{f"header {name}": value for name, value in headers.items()},
        **message.properties,
        **message.delivery_info,
        "payload": message.payload,
        "content": (message.content_type, message.content_encoding),
        "delivery_tag": None,
        "expiration": None,
        "reply_to": None,  # celery.backends.rpc alone asks for it
    }


OPTIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "headers": {"headers": {"x-tenant": "a", "n": {"m": [1]}}},
    "priority": {"priority": 7},
    "priority 0": {"priority": 0},
    "shadow": {"shadow": "other name"},
    "limits": {"time_limit": 30, "soft_time_limit": 20},
    "retries": {"retries": 3},
    "ignore_result": {"ignore_result": True},
    "keeps result": {"ignore_result": False},
    "root": {"root_id": "root", "parent_id": "parent"},
    "group": {"group_id": "group", "group_index": 3},
    "expires": {"expires": 3_600},
    "countdown": {"countdown": 0},
    "nesting": {"replaced_task_nesting": 2},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.usefixtures("store")
def test_a_woken_run_has_the_message_that_it_began_with(
    app: Celery, worker: Worker, options: dict[str, Any]
) -> None:
    @app.task
    def parent(*args: Any, **kwargs: Any) -> None:
        step.sleep("nap", 5)

    first, woken = first_and_woken(
        worker, lambda: parent.apply_async((1, "b"), {"c": [None]}, **options)
    )

    assert told(woken) == told(first)


@pytest.mark.usefixtures("store")
def test_a_woken_run_has_its_callbacks(app: Celery, worker: Worker, ship: Any) -> None:
    @app.task
    def parent() -> int:
        step.sleep("nap", 5)
        return 1

    first, woken = first_and_woken(
        worker, lambda: parent.apply_async(link=[ship.s()], link_error=[ship.si(2)])
    )

    assert told(woken) == told(first)
    assert woken.payload[2]["callbacks"]
    assert woken.payload[2]["errbacks"]


@pytest.mark.usefixtures("store")
def test_a_woken_run_has_its_stamps(app: Celery, worker: Worker) -> None:
    @app.task
    def parent() -> None:
        step.sleep("nap", 5)

    def send() -> None:
        signature = parent.s()
        signature.stamp(tenant="a", region="eu")
        signature.apply_async()

    first, woken = first_and_woken(worker, send)

    assert set(woken.headers["stamped_headers"]) == set(first.headers["stamped_headers"])
    assert woken.headers["stamps"] == first.headers["stamps"]


@pytest.mark.parametrize(
    "declared",
    [
        {"ignore_result": True},
        {"time_limit": 30, "soft_time_limit": 20},
        {"compression": "zlib"},
    ],
    ids=lambda declared: next(iter(declared)),
)
@pytest.mark.usefixtures("store")
def test_a_woken_run_goes_by_what_its_task_declares(
    app: Celery, worker: Worker, declared: dict[str, Any]
) -> None:
    @app.task(**declared)
    def parent() -> None:
        step.sleep("nap", 5)

    first, woken = first_and_woken(worker, parent.delay)

    assert told(woken) == told(first)


@pytest.mark.usefixtures("store")
def test_a_woken_run_goes_to_the_queue_that_its_message_came_from(
    app: Celery, worker: Worker
) -> None:
    app.conf.task_routes = {"parent": {"queue": "routed"}}

    @app.task(name="parent")
    def parent() -> None:
        step.sleep("nap", 5)

    worker.run(parent)
    (woken,) = worker.later(5)

    assert woken.delivery_info["routing_key"] == worker.apart


@pytest.mark.usefixtures("store")
def test_each_wake_up_of_many_keeps_all(app: Celery, worker: Worker) -> None:
    @app.task
    def parent() -> None:
        for _ in range(3):
            step.sleep("nap", 5)

    parent.apply_async(headers={"x": "y"}, priority=4, shadow="s", time_limit=9)
    (first,) = worker.published()
    message = first
    for _ in range(3):
        worker.trace(message)
        (message,) = worker.later(5)
        assert told(message) == told(first)
    worker.trace(message)

    assert app.AsyncResult(first.headers["id"]).state == "SUCCESS"


@pytest.mark.usefixtures("store")
def test_the_expiry_of_a_message_does_not_hold_for_a_run_that_has_begun(
    app: Celery, worker: Worker
) -> None:
    @app.task
    def parent() -> None:
        step.sleep("nap", 5)

    _, woken = first_and_woken(worker, lambda: parent.apply_async(expires=60))

    assert woken.headers["expires"] is None


def test_a_retry_after_a_wake_up_is_of_the_same_turn(app: Celery, sim: Simulation) -> None:
    passes, first = [], Flaky()

    @app.task(bind=True)
    def parent(self: Task[Any, Any]) -> int:
        passes.append((self.request.retries, self.request.headers))
        answer = step.run("first", first)
        step.sleep("nap", 5)
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        step.sleep("nap", 5)
        return answer

    run = sim.run(parent)
    sim.advance("1h")

    assert run.result == 1
    assert first.calls == 1
    assert [retries for retries, _ in passes] == [0, 0, 1, 2, 2]


def test_a_deferred_run_that_wakes_is_still_a_deferred_run(app: Celery, sim: Simulation) -> None:
    runs = []

    @deferred
    @app.task(shared=False)
    def child(at: datetime) -> None:
        run = current_run()
        runs.append((run.parent and run.parent.defer_id, run.deferred_at, run.depth, at))
        step.sleep("nap", 5)

    @app.task
    def parent() -> None:
        defer("child", child, datetime(2030, 1, 1, tzinfo=timezone.utc))

    sim.run(parent)
    sim.advance("1h")

    assert len(runs) == 2
    assert runs[0] == runs[1]
    assert runs[0][0] == "child"
    assert type(runs[1][3]) is datetime
