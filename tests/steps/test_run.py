"""``step.run``: what its function raises reaches the body, in each turn of the run."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from celery import Celery, Task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

from celery_defer import StepError, step
from tests.support.flaky import Declined, Flaky
from tests.support.stage import Stage


def test_what_a_step_raises_leaves_it(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> None:
        step.run("charge", Flaky(Declined("no funds")))

    result = stage.finish(parent)

    assert result.state == "FAILURE"
    assert type(result.result) is Declined
    assert result.result.args == ("no funds",)


def test_a_failure_that_the_body_catches_is_raised_again_by_a_replay(
    app: Celery, stage: Stage
) -> None:
    charge, caught = Flaky(Declined("no funds", 3)), []

    @app.task
    def parent() -> str:
        try:
            step.run("charge", charge)
        except Declined as error:
            caught.append(error)
        step.sleep("nap", 5)
        return "unpaid"

    result = stage.finish(parent)

    assert result.result == "unpaid"
    assert charge.calls == 1
    assert [error.args for error in caught] == [("no funds", 3)] * 2


@pytest.mark.parametrize("wait", ["sleep", "run", "wait", "retry", "send"])
def test_a_caught_failure_is_kept_with_each_kind_of_next_step(
    app: Celery, stage: Stage, wait: str
) -> None:
    charge, other = Flaky(Declined()), Flaky(Declined())

    def next_step() -> None:
        if wait == "sleep":
            step.sleep("next", 5)
        elif wait == "run":
            step.run("next", int)
        elif wait == "wait":
            step.wait_for_event("next", "event", timeout=5)
        elif wait == "retry":
            step.run("next", other, retries=1)
        else:
            step.send_event("next", "event")

    @app.task
    def parent() -> None:
        with suppress(Declined):
            step.run("charge", charge)
        next_step()
        step.sleep("nap", 5)

    assert stage.finish(parent).state == "SUCCESS"
    assert charge.calls == 1


def test_a_failed_step_is_begun_again_by_a_retry_of_the_task(app: Celery, stage: Stage) -> None:
    first, charge = Flaky(), Flaky(Declined())

    @app.task(autoretry_for=(Declined,), default_retry_delay=0, max_retries=2)
    def parent() -> list[int]:
        return [step.run("first", first), step.run("charge", charge)]

    result = stage.begin(parent)
    stage.worker.drain()

    assert result.result == [1, 2]
    assert (first.calls, charge.calls) == (1, 2)


@pytest.mark.parametrize("passing", [Ignore(), Reject("no", requeue=False)])
def test_a_step_may_end_its_run_as_any_body_may(
    app: Celery, stage: Stage, passing: Exception
) -> None:
    @app.task
    def parent() -> None:
        step.run("charge", Flaky(passing), retries=3)

    assert stage.begin(parent).state == "PENDING"
    assert stage.parked() == 0


def test_a_step_may_retry_its_run(app: Celery, stage: Stage) -> None:
    first, tries = Flaky(), []

    def again(task: Task[Any, Any]) -> int:
        tries.append(1)
        if len(tries) < 3:
            raise task.retry(countdown=0)
        return len(tries)

    @app.task(bind=True)
    def parent(self: Task[Any, Any]) -> list[int]:
        return [step.run("first", first), step.run("again", again, self, retries=9)]

    result = stage.begin(parent)
    stage.worker.drain()

    assert result.result == [1, 3]


def test_a_soft_time_limit_leaves_a_step_untried(app: Celery, stage: Stage) -> None:
    late = Flaky(SoftTimeLimitExceeded())

    @app.task
    def parent() -> None:
        step.run("charge", late, retries=3)

    assert type(stage.finish(parent).result) is SoftTimeLimitExceeded
    assert late.calls == 1


class Odd(Exception):
    """Cannot be made anew from its arguments."""

    def __init__(self, code: int, *, more: str) -> None:
        super().__init__(code)
        self.more = more


@pytest.mark.parametrize("retries", [0, 1])
def test_a_failure_that_cannot_be_made_anew_is_still_one_in_a_replay(
    app: Celery, stage: Stage, retries: int
) -> None:
    class Local(Exception):
        """Of a type that nobody can import."""

    charge, caught = Flaky(*[Local(object())] * 4), []

    @app.task
    def parent() -> str:
        try:
            step.run("charge", charge, retries=retries)
        except Exception as error:
            caught.append(str(error))
        step.sleep("nap", 5)
        return "unpaid"

    result = stage.finish(parent)

    assert result.result == "unpaid"
    assert charge.calls == 1 + retries
    assert len(caught) == 2


def test_an_exception_of_odd_arguments_is_raised_in_each_pass(app: Celery, stage: Stage) -> None:
    caught = []

    @app.task
    def parent() -> None:
        try:
            step.run("charge", Flaky(Odd(1, more="x")))
        except Exception as error:
            caught.append(type(error).__name__)
        step.sleep("nap", 5)

    assert stage.finish(parent).state == "SUCCESS"
    assert caught[0] == "Odd"
    assert len(caught) == 2


async def fetch() -> None: ...


@pytest.mark.parametrize(
    ("make", "shown"), [(dict, "dict"), (lambda: None, "None"), (fetch, "coroutine")]
)
def test_what_is_no_function_is_refused_at_once(
    app: Celery, stage: Stage, make: Any, shown: str
) -> None:
    @app.task
    def parent() -> None:
        step.run("fetch", make(), retries=2)

    result = stage.begin(parent).result

    assert type(result) is StepError
    assert f"step 'fetch': {shown} is no function" in str(result)
    assert stage.parked() == 0


def test_a_none_that_the_function_is_not_annotated_to_return_is_no_memo(
    app: Celery, stage: Stage
) -> None:
    called = []

    def count() -> int:
        called.append(1)
        return None if len(called) == 1 else 7  # type: ignore[return-value]

    @app.task(bind=True, max_retries=1)
    def parent(self: Task[Any, Any]) -> int:
        try:
            return step.run("count", count)
        except StepError as error:
            raise self.retry(exc=error, countdown=0) from None

    result = stage.finish(parent)
    stage.worker.drain()

    assert result.result == 7
