"""Where a step may stand: in helpers and threads of a run, and never inside another step."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from datetime import datetime, timezone
from typing import Any

import pytest
from celery import Celery, Task
from celery.signals import task_postrun, task_prerun

from celery_defer import NoRunError, StepError, step
from celery_defer.testing import Simulation


def test_steps_do_not_nest(app: Celery, sim: Simulation) -> None:
    @app.task
    def parent() -> None:
        step.run("outer", lambda: step.run("inner", int))

    run = sim.run(parent)
    error = app.AsyncResult(run.id).result

    assert run.state == "FAILURE"
    assert isinstance(error, StepError)
    assert "step 'inner' is inside step 'outer'" in str(error)
    assert error.step == "inner"


KINDS: dict[str, Callable[[Any], object]] = {
    "run": lambda _: step.run("inner", int),
    "sleep": lambda _: step.sleep("inner", 5),
    "until": lambda _: step.sleep_until("inner", datetime.now(timezone.utc)),
    "wait": lambda _: step.wait_for_event("inner", "event", timeout=5),
    "send": lambda _: step.send_event("inner", "event"),
    "invoke": lambda ship: step.invoke("inner", ship, 1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_step_nests(app: Celery, sim: Simulation, ship: Any, kind: str) -> None:
    @app.task
    def parent() -> None:
        step.run("outer", KINDS[kind], ship)

    assert "steps do not nest" in str(sim.run(parent).exception)


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_step_comes_before_the_body(
    app: Celery, sim: Simulation, ship: Any, kind: str
) -> None:
    """A wait there would end a solo worker."""

    class Early(Task):  # type: ignore[misc]
        def before_start(self, *_: Any) -> None:
            KINDS[kind](ship)

    @app.task(base=Early)
    def parent() -> None: ...

    run = sim.run(parent)

    assert type(run.exception) is StepError
    assert "step 'inner' of run" in str(run.exception)
    assert "comes before the body" in str(run.exception)


def test_a_step_of_a_receiver_of_task_prerun_is_refused(app: Celery, sim: Simulation) -> None:
    refused = []

    def on_prerun(**_: Any) -> None:
        try:
            step.sleep("nap", 5)
        except StepError as error:
            refused.append(error.step)

    @app.task
    def parent() -> int:
        return 7

    task_prerun.connect(on_prerun, sender=app.tasks[parent.name])
    run = sim.run(parent)

    assert (run.result, refused) == (7, ["nap"])


def test_a_step_of_a_receiver_of_task_postrun_is_refused_when_the_run_has_parked(
    app: Celery, sim: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task
    def parent() -> int:
        step.sleep("nap", 5)
        return 7

    def on_postrun(**_: Any) -> None:
        step.run("late", int)

    task_postrun.connect(on_postrun, sender=app.tasks[parent.name])
    run = sim.run(parent)
    assert "has left its body" in caplog.text
    sim.advance(5)

    assert run.result == 7


def test_a_step_after_a_step_that_failed_by_nesting_is_no_nested_one(
    app: Celery, sim: Simulation
) -> None:
    @app.task
    def parent() -> int:
        with suppress(StepError):
            step.run("outer", lambda: step.run("inner", int))
        return step.run("next", int)

    assert sim.run(parent).result == 0


def test_steps_may_stand_in_helpers_and_in_tasks_that_are_called_plainly(
    app: Celery, sim: Simulation
) -> None:
    calls = []

    def helper(n: int) -> int:
        return step.run("helped", lambda: calls.append(n) or n)

    @app.task
    def inner(n: int) -> int:
        step.sleep("nap", 5)
        return helper(n)

    @app.task
    def parent() -> list[int]:
        return [helper(1), inner(2), helper(3)]

    run = sim.run(parent)
    sim.advance("1h")

    assert run.result == [1, 2, 3]
    assert calls == [1, 2, 3]


def test_a_class_based_task_has_steps(app: Celery, sim: Simulation) -> None:
    class Parent(app.Task):  # type: ignore[name-defined,misc]
        name = "class-based"

        def __call__(self, n: int) -> int:
            return int(self.run(n)) + 1

        def run(self, n: int) -> int:
            step.sleep("nap", 5)
            return step.run("first", int, n)

    run = sim.run(app.register_task(Parent()), 3)
    sim.advance("1h")

    assert run.result == 4


def test_a_thread_with_the_runs_context_may_have_steps(app: Celery, sim: Simulation) -> None:
    calls = []

    @app.task
    def parent() -> int:
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(
                copy_context().run, step.run, "first", lambda: calls.append(1) or 7
            )
            answer = first.result()
            threads.submit(copy_context().run, step.sleep, "nap", 5).result()
        return int(answer)

    run = sim.run(parent)
    sim.advance("1h")

    assert run.result == 7
    assert calls == [1]


def test_a_thread_without_the_runs_context_has_no_steps(app: Celery, sim: Simulation) -> None:
    @app.task
    def parent() -> None:
        with ThreadPoolExecutor(1) as threads:
            threads.submit(step.run, "first", int).result()

    assert isinstance(sim.run(parent).exception, NoRunError)
