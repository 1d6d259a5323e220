"""The soak in its quick form, and the judge on made-up events: it can say no."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from celery_defer import run_id
from tests.worker.soak.events import Deferred, Event, Plan, draw
from tests.worker.soak.journeys import Journey, draw_journey, judge_journeys
from tests.worker.soak.verdict import State, judge

ROOT = Path(__file__).parents[3]
CALL = Deferred(id="a", when="success", plan=Plan(kind="early"))
CHILD = run_id("p", "a")
SUCCESS = State("SUCCESS")
ONCE = [
    Event("published", CHILD, token="t"),
    Event("received", CHILD, pid=1),
    Event("start", CHILD, token="t"),
    Event("done", CHILD, token="t"),
]


@pytest.mark.worker
def test_kills_under_load_lose_nothing_and_double_nothing() -> None:
    # Its app would be the current one of other tests in this process.
    command = [sys.executable, "-m", "tests.worker.soak", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "violations: 0" in done.stdout
    assert len(re.findall(r"[1-9]\d* +completed once", done.stdout)) == 2
    assert re.search(r"[1-9]\d* +whole (prefork|threads) worker", done.stdout)


def violations(
    events: list[Event], state: State, call: Deferred = CALL, kind: str = "early"
) -> list[str]:
    plan = Plan.model_validate({"kind": kind, "calls": [call]})
    return judge({"p": plan}, events, {"p": state, CHILD: SUCCESS}, {2}).violations


def test_a_run_that_completed_once_is_in_order() -> None:
    assert violations(ONCE, SUCCESS) == []


def test_a_call_that_was_never_published_is_lost() -> None:
    (found,) = violations([], SUCCESS)

    assert "a was never published" in found


@pytest.mark.parametrize("state", [State("FAILURE", "Unlucky"), State(), State("RETRY")])
def test_nothing_may_be_published_for_a_parent_that_has_not_succeeded(state: State) -> None:
    (found,) = violations(ONCE, state)

    assert "which must not be" in found


def test_a_call_for_failure_must_be_published_where_the_parent_failed() -> None:
    call = CALL.model_copy(update={"when": "failure"})

    assert violations([], State("FAILURE", "WorkerLostError"), call) == []
    assert "never published" in violations([], State("FAILURE", "Unlucky"), call)[0]


@pytest.mark.parametrize("token", ["t", "t.1"])
def test_a_second_start_is_a_double(token: str) -> None:
    assert violations([*ONCE, Event("start", CHILD, token=token)], SUCCESS)


def test_a_redelivery_of_the_same_message_is_celerys_own() -> None:
    again = [
        Event("start", CHILD, token="t", again=True),
        Event("done", CHILD, token="t", again=True),
    ]

    assert violations([*ONCE, *again], SUCCESS) == []


def test_a_run_that_a_living_worker_has_received_must_start() -> None:
    published = ONCE[0]

    assert violations([published, Event("received", CHILD, pid=2)], SUCCESS) == []
    (found,) = violations([published, Event("received", CHILD, pid=1)], SUCCESS)
    assert "received and never started" in found


def test_a_quiet_parent_is_held_to_the_end_of_its_body() -> None:
    done, success = Event("done", "p"), Event("success", "p")

    assert violations([], State(), kind="quiet") == []
    assert violations(ONCE, State(), kind="quiet") != []
    assert violations([done], State(), kind="quiet") == []
    assert violations([done, *ONCE], State(), kind="quiet") == []
    assert violations([done, success], State(), kind="quiet") != []


def test_a_run_that_nobody_deferred_is_found() -> None:
    (found,) = violations([*ONCE, Event("published", "stranger", token="t")], SUCCESS)

    assert "nobody deferred it" in found


def test_a_seed_draws_the_same_plans() -> None:
    one, other = Random(7), Random(7)

    assert [draw(one) for _ in range(50)] == [draw(other) for _ in range(50)]
    assert [draw_journey(one) for _ in range(50)] == [draw_journey(other) for _ in range(50)]


# -- runs with steps --------------------------------------------------------------------------

TRIP = Journey.model_validate({"legs": [{"kind": "step"}, {"kind": "wait", "seconds": 1}]})
TOLD = [
    Event("received", "j"),
    Event("start", "j", leg=0),
    Event("step", "j", leg=0),
    Event("kept", "j", leg=0),
    Event("published", "j", token="w"),
    Event("received", "j", token="w"),
    Event("start", "j", token="w", leg=1),
    Event("kept", "j", leg=0),
    Event("got", "j", token="e", leg=1),
    Event("done", "j"),
]


def of_trip(told: list[Event], state: State = SUCCESS, woken: int = 1) -> list[str]:
    return judge_journeys({"j": TRIP}, told, {"j": state}, {("j", 1): woken}).violations


def test_a_trip_that_waited_and_ended_once_is_in_order() -> None:
    assert of_trip(TOLD) == []


def test_a_trip_must_end() -> None:
    (found,) = of_trip(TOLD[:-1], State("WAITING"))

    assert "has not ended" in found


def test_a_trip_may_be_lost_only_with_a_message_that_nobody_received() -> None:
    assert of_trip(TOLD[:5], State("WAITING"), woken=0) == []
    assert of_trip([], State(), woken=0) == []


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (Event("done", "j"), "its body ended twice"),
        (Event("step", "j", leg=0), "was done again"),
        (Event("got", "j", token="nothing", leg=1), "received now this, now that"),
        (Event("start", "j", token="other", leg=1, again=True), "begun by two publications"),
        (Event("start", "j", leg=0), "begun by a message and its double"),
    ],
)
def test_nothing_of_a_trip_may_happen_twice(second: Event, says: str) -> None:
    (found,) = of_trip([*TOLD, second])

    assert says in found


def test_a_step_that_was_killed_before_it_was_kept_is_done_again() -> None:
    assert of_trip([*TOLD[:3], *TOLD[2:]]) == []


def test_a_step_may_not_be_missing() -> None:
    (found,) = of_trip([event for event in TOLD if event.kind != "step"])

    assert "never done" in found


def test_an_event_counts_once_for_one_wait() -> None:
    (found,) = of_trip(TOLD, woken=2)

    assert "woken by 2 events" in found


def test_a_sender_is_not_told_of_a_run_that_received_nothing() -> None:
    told = [
        Event("got", "j", token="nothing", leg=1) if event.kind == "got" else event
        for event in TOLD
    ]

    (found,) = of_trip(told)

    assert "received nothing" in found
