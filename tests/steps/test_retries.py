"""``step.run(…, retries=)``: a step is tried again, after a pause that holds no worker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from celery_defer import NonRetriable, RetryAfter, StepError, step
from celery_defer.scoring import Score, weighted
from celery_defer.testing import Simulation
from tests.support.flaky import Declined, Flaky


def test_a_step_is_tried_again_until_it_answers(app: Celery, sim: Simulation) -> None:
    charge = Flaky(Declined(), Declined())

    @app.task
    def parent() -> int:
        return step.run("charge", charge, retries=3)

    run = sim.run(parent)
    assert app.AsyncResult(run.id).state == "WAITING"
    assert app.AsyncResult(run.id).info["waiting_for"] == "retry"
    assert app.AsyncResult(run.id).info["step"] == "charge"
    sim.advance("1h")

    assert run.result == 3


def test_the_pauses_between_tries_grow(app: Celery, sim: Simulation) -> None:
    charge, pauses = Flaky(*[Declined()] * 12), list[float]()

    @app.task
    def parent() -> int:
        return step.run("charge", charge, retries=12)

    run = sim.run(parent)
    while wait := run.waits_for:
        assert wait.until is not None
        pauses.append((wait.until - sim.now).total_seconds())
        sim.advance(pauses[-1] + 0.001)

    lower = [min(2.0**n, 600) / 2 for n in range(12)]
    assert all(low <= pause <= 2 * low + 0.01 for low, pause in zip(lower, pauses, strict=True))


def test_a_step_whose_tries_are_used_up_raises_step_error(app: Celery, sim: Simulation) -> None:
    charge, caught = Flaky(*[Declined("no funds")] * 9), []

    @app.task
    def parent() -> str:
        try:
            step.run("charge", charge, retries=2)
        except StepError as error:
            caught.append(error)
        step.sleep("nap", 5)
        return "unpaid"

    run = sim.run(parent)
    sim.advance("1h")

    assert run.result == "unpaid"
    assert charge.calls == 3
    assert [str(error) for error in caught] == [
        "step 'charge' has failed: Declined('no funds')"
    ] * 2
    assert [error.step for error in caught] == ["charge"] * 2
    assert [type(error.__cause__) for error in caught] == [Declined] * 2


def test_a_step_that_has_failed_for_good_is_not_tried_by_a_retry_of_the_task(
    app: Celery, sim: Simulation
) -> None:
    charge = Flaky(*[Declined()] * 9)

    @app.task(autoretry_for=(StepError,), default_retry_delay=0, max_retries=2)
    def parent() -> None:
        step.run("charge", charge, retries=1)

    run = sim.run(parent)
    sim.advance("1h")

    assert type(run.exception) is StepError
    assert charge.calls == 2


@pytest.mark.parametrize("delay", [300, timedelta(minutes=5), "5m"])
def test_retry_after_says_how_long_to_wait(app: Celery, sim: Simulation, delay: Any) -> None:
    charge = Flaky(RetryAfter(delay), Declined())

    @app.task
    def parent() -> int:
        return step.run("charge", charge, retries=2)

    run = sim.run(parent)
    sim.advance(299)
    assert charge.calls == 1
    sim.advance(1)
    assert charge.calls == 2
    sim.advance("1h")

    assert run.result == 3


def test_retry_after_is_one_of_the_tries(app: Celery, sim: Simulation) -> None:
    charge = Flaky(*[RetryAfter(1)] * 9)

    @app.task
    def parent() -> None:
        step.run("charge", charge, retries=2)

    run = sim.run(parent)
    sim.advance("1h")

    assert type(run.exception) is StepError
    assert charge.calls == 3


def test_retry_after_a_bad_delay_is_an_error_that_names_the_step(
    app: Celery, sim: Simulation
) -> None:
    @app.task
    def parent() -> None:
        step.run("charge", Flaky(RetryAfter("soon")), retries=2)

    run = sim.run(parent)
    sim.advance("1h")

    assert "step 'charge' cannot wait for 'soon'" in str(run.exception)


def test_non_retriable_ends_the_tries(app: Celery, sim: Simulation) -> None:
    charge = Flaky(Declined(), NonRetriable("stolen card"))

    @app.task
    def parent() -> None:
        step.run("charge", charge, retries=9)

    run = sim.run(parent)
    sim.advance("1h")

    assert type(run.exception) is StepError
    assert "stolen card" in str(run.exception)
    assert charge.calls == 2


@pytest.mark.parametrize("make", [lambda: Score("tone", "good"), lambda: weighted({"a": 0})])
def test_a_bad_score_and_a_bad_experiment_end_the_tries(
    app: Celery, sim: Simulation, make: Callable[[], object]
) -> None:
    tries: list[int] = []

    def judge() -> None:
        tries.append(1)
        make()

    @app.task
    def parent() -> None:
        step.run("judge", judge, retries=9)

    run = sim.run(parent)
    sim.advance("1h")

    assert type(run.exception) is StepError
    assert len(tries) == 1


def test_each_of_two_steps_has_its_own_tries(app: Celery, sim: Simulation) -> None:
    one, two = Flaky(Declined(), Declined()), Flaky(Declined(), Declined())

    @app.task
    def parent() -> list[int]:
        return [step.run("charge", one, retries=2), step.run("charge", two, retries=2)]

    run = sim.run(parent)
    sim.advance("1h")

    assert run.result == [3, 3]


@pytest.mark.parametrize("retries", ["3", None, -1, True, 1.5])
def test_retries_that_are_no_number_are_refused_before_the_function_is_called(
    app: Celery, sim: Simulation, retries: Any
) -> None:
    charge = Flaky()

    @app.task
    def parent() -> None:
        step.run("charge", charge, retries=retries)

    run = sim.run(parent)

    assert type(run.exception) is StepError
    assert f"step 'charge': retries={retries!r} is no number of tries" in str(run.exception)
    assert charge.calls == 0
