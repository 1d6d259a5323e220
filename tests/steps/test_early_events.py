"""An event that was sent before the wait counts for a run that was there already."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, Task

from celery_defer import send_event, step
from tests.support.stage import Stage


@pytest.fixture
def waiter(app: Celery) -> Any:
    """A task that waits for an event, and answers what it has received."""

    @app.task(name="waiter")
    def waiter(match: Any = None, timeout: Any = 3_600) -> Any:
        found = step.wait_for_event("wait", "event", timeout=timeout, match=match)
        return found and found.data

    return waiter


def test_each_wait_of_a_run_receives_another_early_event_of_new_values(
    app: Celery, stage: Stage
) -> None:
    @app.task
    def parent() -> list[Any]:
        step.sleep("nap", 30)
        match = {"user": 1}
        found = [step.wait_for_event("wait", "event", timeout=60, match=match) for _ in range(3)]
        return [each and each.data["n"] for each in found]

    result = stage.begin(parent)
    for n in range(4):
        stage.now += 1
        send_event("event", {"user": n % 2, "n": n})
    stage.wake(30)
    assert result.state == "WAITING"
    stage.go_on()

    assert result.result == [1, 3, None]


@pytest.mark.parametrize("match", [None, {"user": 1}])
def test_an_event_before_the_wait_counts_if_the_run_was_there(
    app: Celery, stage: Stage, match: Any
) -> None:
    @app.task
    def parent() -> Any:
        step.sleep("nap", 60)
        found = step.wait_for_event("wait", "event", timeout=60, match=match)
        return found and found.data

    result = stage.begin(parent)
    stage.now += 10
    assert send_event("event", {"user": 1}) == 0
    stage.wake(50)

    assert result.result == {"user": 1}


def test_an_event_before_the_run_was_seen_does_not_count(waiter: Any, stage: Stage) -> None:
    send_event("event", 1)
    stage.now += 1
    result = stage.begin(waiter, None, 60)
    assert result.state == "WAITING"
    stage.go_on()

    assert result.state == "SUCCESS"
    assert result.result is None


def test_an_event_between_defer_and_the_start_counts(app: Celery, stage: Stage) -> None:
    from celery_defer import defer, deferred  # noqa: PLC0415

    @deferred
    @app.task(shared=False)
    def child() -> Any:
        found = step.wait_for_event("wait", "event", timeout=60)
        return found and found.data

    @app.task
    def parent() -> str:
        return defer("child", child).id

    send_event("event", "before")
    stage.now += 1
    result = stage.begin(parent)
    stage.now += 5
    send_event("event", "early")
    stage.worker.drain()

    assert app.AsyncResult(result.result).result == "early"


@pytest.mark.parametrize("match", [None, {"user": 1}])
def test_an_event_older_than_the_retention_does_not_count(
    app: Celery, stage: Stage, match: Any
) -> None:
    @app.task
    def parent() -> Any:
        step.sleep("nap", "25h")
        found = step.wait_for_event("wait", "event", timeout=60, match=match)
        return found and found.data

    result = stage.begin(parent)
    stage.now += 3_000
    send_event("event", {"user": 1, "is": "old"})
    stage.now += 3_000
    send_event("event", {"user": 1, "is": "young"})
    stage.wake(25 * 3_600 - 6_000)
    stage.go_on()

    assert result.result == {"user": 1, "is": "young"}


def test_an_early_event_shows_the_run_at_work_again(app: Celery, stage: Stage) -> None:
    states = []

    @app.task(bind=True)
    def parent(self: Task[Any, Any]) -> None:
        step.run("send", lambda: send_event("event", 1))
        stage.now += 1
        step.wait_for_event("wait", "event", timeout=60)
        states.append(app.AsyncResult(self.request.id).state)

    stage.begin(parent)

    assert states == ["STARTED"]


def test_of_several_early_events_the_first_counts(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> Any:
        step.sleep("nap", 60)
        found = step.wait_for_event("wait", "event", timeout=60)
        return found and found.data

    result = stage.begin(parent)
    for n in range(3):
        stage.now += 10
        send_event("event", n)
    stage.wake(30)

    assert result.result == 0
