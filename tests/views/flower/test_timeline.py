"""Where the bars of the timeline stand."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from celery_defer.ids import RunId
from celery_defer.store import RunState
from celery_defer.views.flower.timeline import Scale, scale
from celery_defer.views.rows import RunRow, StepRow

START = datetime(2026, 8, 31, 12, 0, tzinfo=timezone.utc)
END = START + timedelta(seconds=100)
SCALE = Scale(START, END, END + timedelta(days=1))


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def run(state: RunState, **times: Any) -> RunRow:
    return RunRow(RunId("r"), "shop.mail", state, **times)


def test_a_bar_shows_how_long_a_run_waited_for_its_start_and_how_long_it_took() -> None:
    row = run(
        RunState.SUCCEEDED, deferred_at=at(10), published_at=at(11), started_at=at(30),
        finished_at=at(80),
    )  # fmt: skip

    bar = SCALE.run(row)

    assert bar
    assert bar.before == (100, 200)
    assert bar.work == (300, 500)
    assert bar.text == "begins after 10 s, waits 20 s, takes 50 s"


def test_a_run_in_progress_goes_to_the_end() -> None:
    bar = SCALE.run(run(RunState.RUNNING, deferred_at=at(0), started_at=at(50)))

    assert bar
    assert bar.work == (500, 500)
    assert bar.text == "begins after 0 ms, waits 50 s, takes 1 d so far"


def test_a_run_that_has_not_started_waits() -> None:
    bar = SCALE.run(run(RunState.PUBLISHED, deferred_at=at(40), published_at=at(41)))

    assert bar
    assert bar.before == (400, 600)
    assert bar.text.endswith("so far")


def test_a_call_without_a_run_is_a_moment() -> None:
    bar = SCALE.run(run(RunState.SKIPPED, deferred_at=at(40)))

    assert bar
    assert bar.before == (400, 0)
    assert bar.text == "begins after 40 s"


def test_a_bar_of_a_moment_can_be_seen_at_the_very_end() -> None:
    bar = SCALE.run(run(RunState.SUCCEEDED, started_at=at(100), finished_at=at(100)))

    assert bar
    assert bar.work[1] > 0
    assert sum(bar.work) <= 1000


def test_what_has_no_times_has_no_bar() -> None:
    assert SCALE.run(run(RunState.UNKNOWN)) is None
    assert SCALE.step(StepRow("charge", "run", "waiting")) is None


def test_a_step_has_a_bar() -> None:
    bar = SCALE.step(StepRow("charge", "run", "finished", started_at=at(20), finished_at=at(30)))

    assert bar
    assert bar.work == (200, 100)


def test_the_scale_has_place_for_all_that_has_happened() -> None:
    ended = run(RunState.SUCCEEDED, deferred_at=at(5), started_at=at(7), finished_at=at(9))
    step = StepRow("charge", "run", "finished", started_at=at(8), finished_at=at(10))

    assert scale([ended], [], END) == Scale(at(5), at(9), END)
    assert scale([ended], [step], END) == Scale(at(5), at(10), END)
    assert scale([], [], END) == Scale(END, END, END)


def test_a_wait_of_days_leaves_the_other_bars_wide() -> None:
    ended = run(RunState.SUCCEEDED, deferred_at=at(0), started_at=at(2), finished_at=at(8))
    waiting = run(RunState.WAITING, deferred_at=at(0), started_at=at(4))

    of_days = scale([ended, waiting], [], at(500_000))
    bar = of_days.run(ended)

    assert of_days.end == at(10)
    assert bar
    assert bar.work == (200, 600)
    assert scale([ended, waiting], [], at(9)).end == at(9)
