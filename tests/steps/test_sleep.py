"""``step.sleep`` and ``step.sleep_until``: a run goes on when its time has come."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from celery import Celery

from celery_defer import StepError, step
from tests.support.stage import Stage


def test_a_sleep_goes_on_when_it_is_over_and_not_before(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> str:
        step.sleep("a week", "7d")
        return "awake"

    result = stage.begin(parent)
    stage.wake(7 * 86_400 - 1)
    assert result.state == "WAITING"
    stage.wake(1)

    assert result.result == "awake"


def test_a_sleep_until_goes_on_at_that_moment(app: Celery, stage: Stage) -> None:
    opening = datetime.fromtimestamp(stage.now + 60, timezone(timedelta(hours=9)))

    @app.task
    def parent() -> str:
        step.sleep_until("opening", opening)
        return "awake"

    result = stage.begin(parent)
    stage.wake(59)
    assert result.state == "WAITING"
    stage.wake(1.001)

    assert result.result == "awake"


@pytest.mark.parametrize("duration", [0, -5, "0s", timedelta(-1)])
def test_a_sleep_that_is_over_already_does_not_park(
    app: Celery, stage: Stage, duration: Any
) -> None:
    @app.task
    def parent() -> str:
        step.sleep("nap", duration)
        step.sleep_until("past", datetime(1970, 1, 1, tzinfo=timezone.utc))
        return "awake"

    assert stage.begin(parent).result == "awake"


def test_a_moment_that_is_computed_anew_in_each_pass_is_slept_until_once(
    app: Celery, stage: Stage
) -> None:
    @app.task
    def parent() -> str:
        step.sleep_until("nap", datetime.fromtimestamp(stage.now + 60, timezone.utc))
        return "awake"

    result = stage.begin(parent)
    stage.wake(61)

    assert result.result == "awake"


@pytest.mark.parametrize("call", ["sleep", "sleep_until", "wait"])
def test_a_bad_time_fails_the_step_by_name(app: Celery, stage: Stage, call: str) -> None:
    @app.task
    def parent() -> None:
        if call == "sleep":
            step.sleep("nap", "soon")
        elif call == "sleep_until":
            step.sleep_until("nap", datetime(2030, 1, 1))
        else:
            step.wait_for_event("nap", "event", timeout="soon")

    result = stage.begin(parent)

    assert isinstance(result.result, StepError)
    assert "step 'nap' cannot wait" in str(result.result)


def test_a_waiting_run_tells_what_it_waits_for(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> None:
        step.sleep("nap", 60)

    result = stage.begin(parent)

    until = datetime.fromtimestamp(stage.now + 60, timezone.utc).isoformat(timespec="milliseconds")
    assert result.state == "WAITING"
    assert result.info == {"step": "nap", "waiting_for": "sleep", "until": until}


def test_a_run_sleeps_until_a_moment_of_the_next_hundred_years(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> None:
        step.sleep_until("nap", datetime.max.replace(tzinfo=timezone.utc))

    result = stage.begin(parent).result

    assert "step 'nap' cannot wait until" in str(result)
    assert stage.parked() == 0
