"""The soak in its quick form, and the judge on made-up events: it can say no."""

from __future__ import annotations

from random import Random
from secrets import randbelow

import pytest

from celery_defer import run_id
from examples.redis_server import own_database, redis_server
from tests.soak.events import Deferred, Event, Plan, draw
from tests.soak.soak import QUICK, soak
from tests.soak.verdict import State, judge

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
    with redis_server() as server, own_database(server) as url:
        report = soak(url, randbelow(2**32), QUICK)

    assert report.violations == [], "\n".join(report.lines())
    assert report.verdict.runs["completed once"] > 0
    assert sum(report.kills.values()) > 0


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
