"""``step.run``: what its function raises reaches the body, in each turn of the run."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from celery import Celery, Task, group
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

from celery_defer import StepError, step
from celery_defer.testing import Simulation
from tests.support.flaky import Declined, Flaky


def test_what_a_step_raises_leaves_it(app: Celery, sim: Simulation) -> None:
    @app.task
    def parent() -> None:
        step.run("charge", Flaky(Declined("no funds")))

    run = sim.run(parent)
    error = app.AsyncResult(run.id).result

    assert run.state == "FAILURE"
    assert type(error) is Declined
    assert error.args == ("no funds",)


def test_a_failure_that_the_body_catches_is_raised_again_by_a_replay(
    app: Celery, sim: Simulation
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

    run = sim.run(parent)
    sim.advance("1h")

    assert run.result == "unpaid"
    assert charge.calls == 1
    assert [error.args for error in caught] == [("no funds", 3)] * 2


@pytest.mark.parametrize("wait", ["sleep", "run", "wait", "retry", "send"])
def test_a_caught_failure_is_kept_with_each_kind_of_next_step(
    app: Celery, sim: Simulation, wait: str
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

    run = sim.run(parent)
    sim.advance("1h")

    assert run.state == "SUCCESS"
    assert charge.calls == 1


def test_a_failed_step_is_begun_again_by_a_retry_of_the_task(app: Celery, sim: Simulation) -> None:
    first, charge = Flaky(), Flaky(Declined())

    @app.task(autoretry_for=(Declined,), default_retry_delay=0, max_retries=2)
    def parent() -> list[int]:
        return [step.run("first", first), step.run("charge", charge)]

    run = sim.run(parent)
    sim.drain()

    assert run.result == [1, 2]
    assert (first.calls, charge.calls) == (1, 2)


@pytest.mark.parametrize(
    ("passing", "state"), [(Ignore(), "IGNORED"), (Reject("no", requeue=False), "REJECTED")]
)
def test_a_step_may_end_its_run_as_any_body_may(
    app: Celery, sim: Simulation, passing: Exception, state: str
) -> None:
    @app.task
    def parent() -> None:
        step.run("charge", Flaky(passing), retries=3)

    run = sim.run(parent)

    assert (run.state, run.waits_for) == (state, None)
    assert app.AsyncResult(run.id).state == "PENDING"


def test_a_step_may_retry_its_run(app: Celery, sim: Simulation) -> None:
    first, tries = Flaky(), []

    def again(task: Task[Any, Any]) -> int:
        tries.append(1)
        if len(tries) < 3:
            raise task.retry(countdown=0)
        return len(tries)

    @app.task(bind=True)
    def parent(self: Task[Any, Any]) -> list[int]:
        return [step.run("first", first), step.run("again", again, self, retries=9)]

    run = sim.run(parent)
    sim.drain()

    assert run.result == [1, 3]


def test_a_soft_time_limit_leaves_a_step_untried(app: Celery, sim: Simulation) -> None:
    late = Flaky(SoftTimeLimitExceeded())

    @app.task
    def parent() -> None:
        step.run("charge", late, retries=3)

    run = sim.run(parent)
    sim.advance("1h")

    assert type(run.exception) is SoftTimeLimitExceeded
    assert late.calls == 1


class Odd(Exception):
    """Cannot be made anew from its arguments."""

    def __init__(self, code: int, *, more: str) -> None:
        super().__init__(code)
        self.more = more


@pytest.mark.parametrize("retries", [0, 1])
def test_a_failure_that_cannot_be_made_anew_is_still_one_in_a_replay(
    app: Celery, sim: Simulation, retries: int
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

    run = sim.run(parent)
    sim.advance("1h")

    assert run.result == "unpaid"
    assert charge.calls == 1 + retries
    assert len(caught) == 2


def test_an_exception_of_odd_arguments_is_raised_in_each_pass(app: Celery, sim: Simulation) -> None:
    caught = []

    @app.task
    def parent() -> None:
        try:
            step.run("charge", Flaky(Odd(1, more="x")))
        except Exception as error:
            caught.append(type(error).__name__)
        step.sleep("nap", 5)

    run = sim.run(parent)
    sim.advance("1h")

    assert run.state == "SUCCESS"
    assert caught[0] == "Odd"
    assert len(caught) == 2


async def fetch() -> None: ...


@pytest.mark.parametrize(
    ("make", "shown"), [(dict, "dict"), (lambda: None, "None"), (fetch, "coroutine")]
)
def test_what_is_no_function_is_refused_at_once(
    app: Celery, sim: Simulation, make: Any, shown: str
) -> None:
    @app.task
    def parent() -> None:
        step.run("fetch", make(), retries=2)

    run = sim.run(parent)

    assert type(run.exception) is StepError
    assert f"step 'fetch': {shown} is no function" in str(run.exception)
    assert run.waits_for is None


def test_a_none_that_the_function_is_not_annotated_to_return_is_no_memo(
    app: Celery, sim: Simulation
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

    run = sim.run(parent)
    sim.advance("1h")

    assert run.result == 7


@pytest.mark.parametrize("sends", ["task", "list", "signature", "group"])
def test_a_task_that_a_step_sends_is_sent_once_and_its_id_returned(
    app: Celery, sim: Simulation, ship: Any, sends: str
) -> None:
    """The step had sent, failed as its result was no JSON, and was tried again."""
    send = {
        "task": lambda: ship.delay(1),
        "list": lambda: {"all": [ship.delay(1), ship.delay(2)]},
        "signature": ship.s(1).apply_async,
        "group": group(ship.s(1), ship.s(2)).apply_async,
    }
    answers = []

    @app.task(autoretry_for=(StepError,), default_retry_delay=0)
    def parent() -> Any:
        answers.append(step.run("mail", send[sends]))
        step.sleep("nap", 5)
        return answers[-1]

    run = sim.run(parent)
    sim.advance("1h")
    sent = [each.id for each in sim.runs_of(ship)]

    assert len(sent) == (1 if sends in ("task", "signature") else 2)
    assert answers[0] == answers[1] == run.result
    if sends == "list":
        assert run.result == {"all": sent}
    elif sends != "group":
        assert [run.result] == sent
