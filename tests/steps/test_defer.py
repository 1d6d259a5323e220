"""What a run with steps defers is published once, whatever the number of its turns."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from celery import Celery

from celery_defer import defer, run_id, step
from celery_defer.testing import Simulation
from tests.support.flaky import Declined, Flaky


@pytest.fixture
def shipped(sim: Simulation) -> Any:
    """Runs a task to its end, and returns the defer ids of what it has published, in order."""

    def shipped(task: Any) -> list[str]:
        run = sim.run(task)
        ran = [each for each in sim.advance("1h") if each != run]
        assert run.state in {"SUCCESS", "FAILURE"}
        ids = {call.run.id: call.id for call in run.deferred.values() if call.state == "PUBLISHED"}
        return [ids[each.id] for each in ran]

    return shipped


def test_what_a_body_publishes_at_once_is_published_in_one_turn_alone(
    app: Celery, ship: Any, shipped: Any, sim: Simulation
) -> None:
    handles = []

    @app.task
    def parent() -> None:
        handles.append(defer("ship", ship.with_options(when="now"), 1))
        step.sleep("nap", 5)
        step.sleep("another", 5)

    assert shipped(parent) == ["ship"]
    assert {handle.id for handle in handles} == {handles[0].id}
    assert [handle.skipped for handle in handles] == [None] * 3
    (run,) = sim.runs_of(parent)
    assert [child.id for child in app.AsyncResult(run.id).children] == [handles[0].id]


def test_what_a_step_defers_is_published_once_when_the_run_succeeds(
    app: Celery, ship: Any, shipped: Any
) -> None:
    @app.task
    def parent() -> None:
        step.run("a", order)
        step.sleep("nap", 5)
        defer("in-body", ship, 2)
        step.sleep("nap", 5)

    def order() -> None:
        defer("in-step", ship, 1)

    assert sorted(shipped(parent)) == ["in-body", "in-step"]


def test_what_a_finished_step_has_deferred_survives_a_retry(
    app: Celery, ship: Any, shipped: Any
) -> None:
    body = Flaky(Declined(), Declined())

    @app.task(autoretry_for=(Declined,), default_retry_delay=0)
    def parent() -> None:
        if body.calls == 0:
            step.run("a", lambda: defer("in-step", ship, 1) and None)
            defer("in-body", ship, 2)
        body()

    assert shipped(parent) == ["in-step"]


def test_what_a_failed_step_has_deferred_is_dropped(app: Celery, ship: Any, shipped: Any) -> None:
    def order() -> None:
        defer("in-step", ship, 1)
        raise Declined

    @app.task
    def parent() -> None:
        defer("before", ship, 0)
        with suppress(Declined):
            step.run("a", order)
        defer("after", ship, 2)

    assert shipped(parent) == ["before", "after"]


def test_what_a_step_defers_in_its_last_try_counts(app: Celery, ship: Any, shipped: Any) -> None:
    flaky = Flaky(Declined(), Declined())

    def order() -> None:
        defer(f"try-{flaky.calls}", ship, 1)
        flaky()

    @app.task
    def parent() -> None:
        step.run("a", order, retries=5)

    assert shipped(parent) == ["try-2"]


def test_what_a_run_defers_is_dropped_if_it_fails(app: Celery, ship: Any, shipped: Any) -> None:
    @app.task
    def parent() -> None:
        step.run("a", lambda: defer("in-step", ship, 1) and None)
        step.sleep("nap", 5)
        raise Declined

    assert shipped(parent) == []


def test_what_waits_for_a_failure_is_published_after_a_wake_up(
    app: Celery, ship: Any, shipped: Any
) -> None:
    @app.task
    def parent() -> None:
        step.run("a", lambda: defer("alert", ship.with_options(when="failure"), 1) and None)
        step.sleep("nap", 5)
        raise Declined

    assert shipped(parent) == ["alert"]


def test_what_a_step_defers_now_is_published_once_and_linked(
    app: Celery, ship: Any, sim: Simulation
) -> None:
    now = ship.with_options(when="now")

    @app.task
    def parent() -> str:
        id = step.run("a", lambda: defer("at-once", now, 1).id)
        step.sleep("nap", 5)
        return id

    run = sim.run(parent)
    (child,) = run.children
    ran = sim.advance("1h")

    assert run.result == child.id
    assert ran == [child, run]
    assert [each.id for each in app.AsyncResult(run.id).children] == [child.id]


def test_a_call_that_a_step_aborts_stays_aborted(app: Celery, ship: Any, shipped: Any) -> None:
    @app.task
    def parent() -> None:
        step.run("a", lambda: defer("in-step", ship, 1).abort())
        step.sleep("nap", 5)
        defer("in-step", ship, 2)

    assert shipped(parent) == []


def test_a_step_that_aborts_and_then_fails_has_aborted_nothing(
    app: Celery, ship: Any, shipped: Any
) -> None:
    @app.task
    def parent() -> None:
        handle = defer("in-body", ship, 1)

        def undo() -> None:
            handle.abort()
            raise Declined

        with suppress(Declined):
            step.run("undo", undo)
        step.sleep("nap", 5)

    assert shipped(parent) == ["in-body"]


def test_an_id_that_a_step_has_aborted_is_used_up_on_a_replay_as_well(
    app: Celery, ship: Any, sim: Simulation
) -> None:
    turns = []

    @app.task
    def parent() -> None:
        first = defer("in-body", ship, 1)
        step.run("undo", first.abort)
        turns.append((first.skipped, defer("in-body", ship, 2).skipped))
        step.sleep("nap", 5)

    run = sim.run(parent)
    sim.advance("1h")

    assert turns == [(None, "defer id 'in-body' was aborted in this run, which is final")] * 2
    assert run.deferred["in-body"].state == "ABORTED"


def test_a_bad_call_in_a_step_that_fails_is_recorded(
    app: Celery, ship: Any, sim: Simulation
) -> None:
    def order() -> None:
        defer("bad", ship, "no number")
        raise Declined

    @app.task
    def parent() -> None:
        with suppress(Declined):
            step.run("a", order)
        step.sleep("nap", 5)

    run = sim.run(parent)
    sim.advance("1h")

    assert app.AsyncResult(run_id(run.id, "bad")).state == "SKIPPED"


def test_the_payload_of_a_step_is_that_of_its_first_pass(
    app: Celery, ship: Any, sim: Simulation
) -> None:
    numbers = iter([1, 2, 3])

    @app.task
    def parent() -> str:
        id = step.run("a", lambda: defer("in-step", ship, next(numbers)).id)
        step.sleep("nap", 5)
        return id

    run = sim.run(parent)
    sim.advance("1h")

    shipped = run.deferred["in-step"].run
    assert (shipped.id, shipped.result) == (run.result, 1)
