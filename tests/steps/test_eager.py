"""Steps of an eager run, which can have no store and cannot wait."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import NonRetriable, StepError, step
from celery_defer.testing import Simulation
from tests.support.flaky import Declined, Flaky
from tests.support.inside import WatchedStore, Worker


def test_an_eager_run_has_steps(app: Celery, store: WatchedStore) -> None:
    calls = []

    @app.task
    def parent() -> list[int]:
        answers = [step.run("one", lambda: calls.append(1) or 7) for _ in range(2)]
        step.sleep("past", 0)
        return answers

    assert parent.apply().result == [7, 7]
    assert calls == [1, 1]
    assert store.asked == []


def test_an_eager_run_has_steps_without_a_store(app: Celery) -> None:
    @app.task
    def parent() -> int:
        return step.run("one", int)

    assert parent.apply().result == 0


def test_an_eager_run_raises_what_its_steps_raise(app: Celery, store: WatchedStore) -> None:
    assert store.asked == []
    caught = []

    @app.task
    def parent() -> int:
        for _ in range(2):
            try:
                step.run("one", Flaky(Declined("x")))
            except Declined as error:  # noqa: PERF203
                caught.append(error.args)
        with pytest.raises(StepError):
            step.run("two", Flaky(NonRetriable("x")), retries=2)
        return step.run("three", int)

    assert parent.apply().result == 0
    assert caught == [("x",), ("x",)]


@pytest.mark.parametrize("kind", ["sleep", "wait", "invoke", "retry"])
def test_an_eager_run_cannot_wait_and_says_so(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any, kind: str
) -> None:
    waits = {
        "sleep": lambda: step.sleep("nap", 5),
        "wait": lambda: step.wait_for_event("nap", "event", timeout=5),
        "invoke": lambda: step.invoke("nap", ship, 1),
        "retry": lambda: step.run("nap", Flaky(Declined()), retries=2),
    }

    @app.task
    def parent() -> None:
        waits[kind]()

    result = parent.apply()

    assert "step 'nap' waits, which an eager run cannot" in str(result.result)
    assert store.asked == []
    assert worker.published() == []


def test_an_eager_run_inside_a_run_keeps_its_steps_apart(app: Celery, sim: Simulation) -> None:
    @app.task
    def inner() -> int:
        return step.run("one", lambda: 2)

    @app.task
    def parent() -> list[int]:
        return [step.run("one", lambda: 1), inner.apply().result, step.run("one", lambda: 3)]

    assert sim.run(parent).result == [1, 2, 3]
