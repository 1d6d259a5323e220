"""What a changed body gets under the ids that an earlier version of it has used."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Annotated, Any

import pytest
from celery import Celery
from pydantic import AfterValidator

from celery_defer import PayloadError, StepError, defer, deferred, step
from celery_defer.run import Memo, find
from celery_defer.steps import Note
from celery_defer.testing import Simulation
from tests.support.flaky import Declined, Flaky


def double(n: int) -> int:
    return 2 * n


#: What the old version does under the id "x", and for how many seconds before it is replaced.
OLD: dict[str, tuple[Callable[[Any], object], int]] = {
    "run": (lambda _: step.run("x", double, 2), 0),
    "run, to be tried again": (lambda _: step.run("x", Flaky(Declined()), retries=1), 0),
    "sleep": (lambda _: step.sleep("x", 5), 0),
    "sleep, over": (lambda _: step.sleep("x", 5), 9),
    "wait_for_event": (lambda _: step.wait_for_event("x", "event", timeout="1h"), 0),
    "wait_for_event, timed out": (lambda _: step.wait_for_event("x", "event", timeout=5), 9),
    "send_event": (lambda _: step.send_event("x", "event"), 0),
    "invoke": (lambda ship: step.invoke("x", ship, 1), 0),
    "invoke, ended": (lambda ship: step.invoke("x", ship, 1), 9),
}
NEW: dict[str, Callable[[Any], object]] = {
    "run": lambda _: step.run("x", double, 2),
    "sleep": lambda _: step.sleep("x", 60),
    "wait_for_event": lambda _: step.wait_for_event("x", "event", timeout=60),
    "send_event": lambda _: step.send_event("x", "event"),
    "invoke": lambda ship: step.invoke("x", ship, 1),
}
PAIRS = [(old, new) for old in OLD for new in NEW if old.partition(",")[0] != new]


def deployed(app: Celery, sim: Simulation, old: Any, seconds: int, new: Any) -> Any:
    """Run the old version for some seconds and then the new one to its end; return the run."""
    versions = [old]

    @app.task(name="parent", shared=False)
    def parent() -> None:
        versions[-1]()
        step.sleep("until the deploy", "1d")

    run = sim.run(parent)
    if seconds:
        sim.advance(seconds)
    versions.append(new)
    sim.send_event("event")
    sim.advance("7d")
    return run


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_an_id_that_becomes_another_kind_of_step_is_an_error_that_names_both(
    app: Celery, sim: Simulation, ship: Any, old: str, new: str
) -> None:
    body, seconds = OLD[old]

    run = deployed(app, sim, lambda: body(ship), seconds, lambda: NEW[new](ship))

    assert type(run.exception) is StepError
    assert run.exception.step == "x"
    kinds = f"step 'x' of run {run.id} is step.{new} now, and was step.{old.partition(',')[0]}"
    assert kinds in str(run.exception)


@pytest.mark.parametrize("old", OLD)
def test_an_id_that_stays_the_same_kind_of_step_goes_on(
    app: Celery, sim: Simulation, ship: Any, old: str
) -> None:
    body, seconds = OLD[old]
    new = NEW[old.partition(",")[0]]

    run = deployed(app, sim, lambda: body(ship), seconds, lambda: new(ship))

    assert run.state == "SUCCESS"


def test_a_sleep_may_become_a_sleep_until(app: Celery, sim: Simulation) -> None:
    opening = datetime(2100, 1, 1, tzinfo=timezone.utc)

    run = deployed(app, sim, lambda: step.sleep("x", 5), 0, lambda: step.sleep_until("x", opening))

    assert run.state == "SUCCESS"


def triple(n: int) -> list[int]:
    return [n] * 3


def test_a_finished_step_whose_function_has_changed_returns_what_the_old_one_has_returned(
    app: Celery, sim: Simulation
) -> None:
    results = list[int]()

    run = deployed(
        app, sim, lambda: step.run("x", double, 2), 0, lambda: results.append(step.run("x", int))
    )

    assert run.state == "SUCCESS"
    assert results == [4]


def test_a_finished_step_whose_new_type_does_not_take_the_old_result_fails(
    app: Celery, sim: Simulation
) -> None:
    run = deployed(app, sim, lambda: step.run("x", double, 2), 0, lambda: step.run("x", triple, 2))

    assert type(run.exception) is StepError
    assert "step 'x' has returned 4, which is not what its function is annotated to" in str(
        run.exception
    )


#: A wait of the old version, and what the new one has made of it.
CHANGED_WAITS: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "duration": (lambda: step.sleep("x", 5), lambda: step.sleep("x", "30d")),
    "timeout": (
        lambda: step.wait_for_event("x", "no", timeout=5),
        lambda: step.wait_for_event("x", "no", timeout="30d"),
    ),
    "event": (
        lambda: step.wait_for_event("x", "event", timeout="30d"),
        lambda: step.wait_for_event("x", "no", timeout="30d"),
    ),
}


@pytest.mark.parametrize("what", CHANGED_WAITS)
def test_a_wait_that_is_changed_ends_as_it_was_begun(
    app: Celery, sim: Simulation, what: str
) -> None:
    old, new = CHANGED_WAITS[what]

    run = deployed(app, sim, old, 0, new)

    assert run.state == "SUCCESS"


def test_a_run_that_was_invoked_is_waited_for_though_the_step_names_another_task(
    app: Celery, sim: Simulation, ship: Any, make_invoice: Any
) -> None:
    def invoke_other() -> None:
        step.invoke("x", make_invoice, total=1)

    run = deployed(app, sim, lambda: step.invoke("x", ship, 1), 0, invoke_other)

    assert "step 'x' has returned 1, which is not what its function" in str(run.exception)
    assert sim.runs_of(make_invoice) == []


def test_what_a_release_before_has_left_is_read_and_is_of_any_kind(
    app: Celery, sim: Simulation
) -> None:
    memo, note = Memo.unpack(b'{"result":"4"}'), Note.unpack(b"[2,1,0,0]")

    assert (memo, note) == (Memo("4"), Note(tries=2))
    run = deployed(app, sim, lambda: leave(memo), 0, lambda: step.run("x", double, 3))
    assert run.state == "SUCCESS"


def leave(memo: Memo) -> None:
    """Store a memo as another release would."""
    scope = find()
    assert scope
    assert scope.store
    scope.store.remember(scope.run.id, {"x": memo.pack()}, 600)


def test_a_parked_run_whose_payload_does_not_fit_any_more_says_that_it_did(
    app: Celery, sim: Simulation
) -> None:
    most = [100]

    def few(count: int) -> int:
        if count > most[-1]:
            raise ValueError(f"at most {most[-1]}")
        return count

    def body(count: int) -> None:
        step.sleep("nap", 5)

    body.__annotations__["count"] = Annotated[int, AfterValidator(few)]
    order = deferred(app.task(name="order", shared=False)(body))

    @app.task
    def parent() -> None:
        defer("order", order, 70)

    sim.run(parent)
    sim.drain()
    most.append(10)
    sim.advance(5)
    (run,) = sim.runs_of(order)

    assert isinstance(run.exception, PayloadError)
    assert run.exception.problems == ["count: Value error, at most 10"]
    assert f"run {run.id} has waited with a payload that order took when it began" in str(
        run.exception
    )
