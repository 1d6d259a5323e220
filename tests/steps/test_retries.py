"""``step.run(…, retries=)``: a step is tried again, after a pause that holds no worker."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from celery_defer import NonRetriable, RetryAfter, StepError, step
from tests.support.flaky import Declined, Flaky
from tests.support.stage import Stage


def test_a_step_is_tried_again_until_it_answers(app: Celery, stage: Stage) -> None:
    charge = Flaky(Declined(), Declined())

    @app.task
    def parent() -> int:
        return step.run("charge", charge, retries=3)

    result = stage.begin(parent)
    assert result.state == "WAITING"
    assert result.info["waiting_for"] == "retry"
    assert result.info["step"] == "charge"
    stage.go_on()

    assert result.result == 3


def test_the_pauses_between_tries_grow(app: Celery, stage: Stage) -> None:
    charge, pauses = Flaky(*[Declined()] * 12), list[float]()

    @app.task
    def parent() -> int:
        return step.run("charge", charge, retries=12)

    stage.begin(parent)
    while stage.parked():
        pauses.append(stage.extension.store.next_due() - stage.now)
        stage.wake(pauses[-1])

    lower = [min(2.0**n, 600) / 2 for n in range(12)]
    assert all(low <= pause <= 2 * low + 0.01 for low, pause in zip(lower, pauses, strict=True))


def test_a_step_whose_tries_are_used_up_raises_step_error(app: Celery, stage: Stage) -> None:
    charge, caught = Flaky(*[Declined("no funds")] * 9), []

    @app.task
    def parent() -> str:
        try:
            step.run("charge", charge, retries=2)
        except StepError as error:
            caught.append(error)
        step.sleep("nap", 5)
        return "unpaid"

    result = stage.finish(parent)

    assert result.result == "unpaid"
    assert charge.calls == 3
    assert [str(error) for error in caught] == [
        "step 'charge' has failed: Declined('no funds')"
    ] * 2
    assert [error.step for error in caught] == ["charge"] * 2
    assert [type(error.__cause__) for error in caught] == [Declined] * 2


def test_a_step_that_has_failed_for_good_is_not_tried_by_a_retry_of_the_task(
    app: Celery, stage: Stage
) -> None:
    charge = Flaky(*[Declined()] * 9)

    @app.task(autoretry_for=(StepError,), default_retry_delay=0, max_retries=2)
    def parent() -> None:
        step.run("charge", charge, retries=1)

    result = stage.begin(parent)
    stage.go_on()

    assert type(result.result) is StepError
    assert charge.calls == 2


@pytest.mark.parametrize("delay", [300, timedelta(minutes=5), "5m"])
def test_retry_after_says_how_long_to_wait(app: Celery, stage: Stage, delay: Any) -> None:
    charge = Flaky(RetryAfter(delay), Declined())

    @app.task
    def parent() -> int:
        return step.run("charge", charge, retries=2)

    result = stage.begin(parent)
    stage.wake(299)
    assert charge.calls == 1
    stage.wake(1)
    assert charge.calls == 2
    stage.go_on()

    assert result.result == 3


def test_retry_after_is_one_of_the_tries(app: Celery, stage: Stage) -> None:
    charge = Flaky(*[RetryAfter(1)] * 9)

    @app.task
    def parent() -> None:
        step.run("charge", charge, retries=2)

    assert type(stage.finish(parent).result) is StepError
    assert charge.calls == 3


def test_retry_after_a_bad_delay_is_an_error_that_names_the_step(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> None:
        step.run("charge", Flaky(RetryAfter("soon")), retries=2)

    result = stage.finish(parent)

    assert "step 'charge' cannot wait for 'soon'" in str(result.result)


def test_non_retriable_ends_the_tries(app: Celery, stage: Stage) -> None:
    charge = Flaky(Declined(), NonRetriable("stolen card"))

    @app.task
    def parent() -> None:
        step.run("charge", charge, retries=9)

    result = stage.finish(parent)

    assert type(result.result) is StepError
    assert "stolen card" in str(result.result)
    assert charge.calls == 2


def test_each_of_two_steps_has_its_own_tries(app: Celery, stage: Stage) -> None:
    one, two = Flaky(Declined(), Declined()), Flaky(Declined(), Declined())

    @app.task
    def parent() -> list[int]:
        return [step.run("charge", one, retries=2), step.run("charge", two, retries=2)]

    assert stage.finish(parent).result == [3, 3]


@pytest.mark.parametrize("retries", ["3", None, -1, True, 1.5])
def test_retries_that_are_no_number_are_refused_before_the_function_is_called(
    app: Celery, stage: Stage, retries: Any
) -> None:
    charge = Flaky()

    @app.task
    def parent() -> None:
        step.run("charge", charge, retries=retries)

    result = stage.begin(parent).result

    assert type(result) is StepError
    assert f"step 'charge': retries={retries!r} is no number of tries" in str(result)
    assert charge.calls == 0
