"""``step.sleep`` and ``step.sleep_until``: a run goes on when its time has come."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from celery import Celery

from celery_defer import StepError, step
from celery_defer.testing import Simulation


def test_a_sleep_goes_on_when_it_is_over_and_not_before(app: Celery, sim: Simulation) -> None:
    @app.task
    def parent() -> str:
        step.sleep("a week", "7d")
        return "awake"

    run = sim.run(parent)
    sim.advance(7 * 86_400 - 1)
    assert run.state == "WAITING"
    sim.advance(1)

    assert run.result == "awake"


def test_a_sleep_until_goes_on_at_that_moment(app: Celery, sim: Simulation) -> None:
    opening = (sim.now + timedelta(seconds=60)).astimezone(timezone(timedelta(hours=9)))

    @app.task
    def parent() -> str:
        step.sleep_until("opening", opening)
        return "awake"

    run = sim.run(parent)
    sim.advance(59)
    assert run.state == "WAITING"
    sim.advance(1.001)

    assert run.result == "awake"


@pytest.mark.parametrize("duration", [0, -5, "0s", timedelta(-1)])
def test_a_sleep_that_is_over_already_does_not_park(
    app: Celery, sim: Simulation, duration: Any
) -> None:
    @app.task
    def parent() -> str:
        step.sleep("nap", duration)
        step.sleep_until("past", datetime(1970, 1, 1, tzinfo=timezone.utc))
        return "awake"

    assert sim.run(parent).result == "awake"


def test_a_moment_that_is_computed_anew_in_each_pass_is_slept_until_once(
    app: Celery, sim: Simulation
) -> None:
    @app.task
    def parent() -> str:
        step.sleep_until("nap", sim.now + timedelta(seconds=60))
        return "awake"

    run = sim.run(parent)
    sim.advance(61)

    assert run.result == "awake"


@pytest.mark.parametrize("call", ["sleep", "sleep_until", "wait"])
def test_a_bad_time_fails_the_step_by_name(app: Celery, sim: Simulation, call: str) -> None:
    @app.task
    def parent() -> None:
        if call == "sleep":
            step.sleep("nap", "soon")
        elif call == "sleep_until":
            step.sleep_until("nap", datetime(2030, 1, 1))
        else:
            step.wait_for_event("nap", "event", timeout="soon")

    run = sim.run(parent)

    assert isinstance(run.exception, StepError)
    assert "step 'nap' cannot wait" in str(run.exception)


def test_a_waiting_run_tells_what_it_waits_for(app: Celery, sim: Simulation) -> None:
    @app.task
    def parent() -> None:
        step.sleep("nap", 60)

    result = app.AsyncResult(sim.run(parent).id)

    until = (sim.now + timedelta(seconds=60)).isoformat(timespec="milliseconds")
    assert result.state == "WAITING"
    assert result.info == {"step": "nap", "waiting_for": "sleep", "until": until}


def test_a_run_sleeps_until_a_moment_of_the_next_hundred_years(
    app: Celery, sim: Simulation
) -> None:
    @app.task
    def parent() -> None:
        step.sleep_until("nap", datetime.max.replace(tzinfo=timezone.utc))

    run = sim.run(parent)

    assert run.waits_for is None
    assert "step 'nap' cannot wait until" in str(run.exception)
