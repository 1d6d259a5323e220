"""An event that was sent before the wait counts for a run that was there already."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, Task

from celery_defer import defer, deferred, send_event, step
from celery_defer.testing import Simulation
from tests.support.inside import Worker


def test_each_wait_of_a_run_receives_another_early_event_of_new_values(
    app: Celery, sim: Simulation
) -> None:
    @app.task
    def parent() -> list[Any]:
        step.sleep("nap", 30)
        match = {"user": 1}
        events = [step.wait_for_event("wait", "event", timeout=60, match=match) for _ in range(3)]
        return [each and each.data["n"] for each in events]

    run = sim.run(parent)
    for n in range(4):
        sim.advance(1)
        send_event("event", {"user": n % 2, "n": n})
    sim.advance(30)
    assert run.state == "WAITING"
    sim.advance("1h")

    assert run.result == [1, 3, None]


def test_very_many_early_events_are_read_in_pages(app: Celery, sim: Simulation) -> None:
    """All at one time, too: then pages are not told apart by their times."""

    @app.task
    def parent() -> Any:
        step.sleep("nap", 60)
        event = step.wait_for_event("wait", "event", timeout=60, match={"user": 1_299})
        return event and event.data

    run = sim.run(parent)
    for n in range(1_300):
        sim.advance(1 if n % 650 == 1 else 0)
        send_event("event", {"user": n})
    sim.advance(60)

    assert run.result == {"user": 1_299}


def test_of_very_many_events_the_newest_count(app: Celery, sim: Simulation) -> None:
    app.conf.defer_max_events = 2

    @app.task
    def parent() -> Any:
        step.sleep("nap", 60)
        return step.wait_for_event("wait", "event", timeout=60).data

    run = sim.run(parent)
    for n in range(4):
        sim.advance(1)
        send_event("event", n)
    sim.advance(60)

    assert run.result == 2


@pytest.mark.parametrize("match", [None, {"user": 1}])
def test_an_event_before_the_wait_counts_if_the_run_was_there(
    app: Celery, sim: Simulation, match: Any
) -> None:
    @app.task
    def parent() -> Any:
        step.sleep("nap", 60)
        event = step.wait_for_event("wait", "event", timeout=60, match=match)
        return event and event.data

    run = sim.run(parent)
    sim.advance(10)
    assert send_event("event", {"user": 1}) == 0
    sim.advance(50)

    assert run.result == {"user": 1}


def test_an_event_before_the_run_was_seen_does_not_count(waiter: Any, sim: Simulation) -> None:
    send_event("event", 1)
    sim.advance(1)
    run = sim.run(waiter, None, 60)
    assert run.state == "WAITING"
    sim.advance("1h")

    assert run.result is None


@pytest.mark.usefixtures("store")
def test_an_event_between_defer_and_the_start_counts(app: Celery, worker: Worker) -> None:
    @deferred
    @app.task(shared=False)
    def child() -> Any:
        event = step.wait_for_event("wait", "event", timeout=60)
        return event and event.data

    @app.task
    def parent() -> str:
        return defer("child", child).id

    send_event("event", "before")
    worker.now += 1
    result = worker.run(parent)
    worker.now += 5
    send_event("event", "early")
    worker.drain()

    assert app.AsyncResult(result.result).result == "early"


@pytest.mark.parametrize("match", [None, {"user": 1}])
def test_an_event_older_than_the_retention_does_not_count(
    app: Celery, sim: Simulation, match: Any
) -> None:
    @app.task
    def parent() -> Any:
        step.sleep("nap", "25h")
        event = step.wait_for_event("wait", "event", timeout=60, match=match)
        return event and event.data

    run = sim.run(parent)
    sim.advance(3_000)
    send_event("event", {"user": 1, "is": "old"})
    sim.advance(3_000)
    send_event("event", {"user": 1, "is": "young"})
    sim.advance(25 * 3_600 - 6_000)
    sim.advance("1h")

    assert run.result == {"user": 1, "is": "young"}


@pytest.mark.usefixtures("store")
def test_an_early_event_shows_the_run_at_work_again(app: Celery, worker: Worker) -> None:
    states = []

    @app.task(bind=True)
    def parent(self: Task[Any, Any]) -> None:
        step.run("send", lambda: send_event("event", 1))
        worker.now += 1
        step.wait_for_event("wait", "event", timeout=60)
        states.append(app.AsyncResult(self.request.id).state)

    worker.run(parent)

    assert states == ["STARTED"]


def test_of_several_early_events_the_first_counts(app: Celery, sim: Simulation) -> None:
    @app.task
    def parent() -> Any:
        step.sleep("nap", 60)
        event = step.wait_for_event("wait", "event", timeout=60)
        return event and event.data

    run = sim.run(parent)
    for n in range(3):
        sim.advance(10)
        send_event("event", n)
    sim.advance(30)

    assert run.result == 0
