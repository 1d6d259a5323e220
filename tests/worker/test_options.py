"""``with_options`` as the worker sees it (rule 3.9)."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from celery_defer import run_id
from tests.worker.caller import Caller

pytestmark = pytest.mark.in_each_way


def deferred_with(caller: Caller, **options: Any) -> str:
    call = {"id": "next", "kind": "plain", "n": 1, "options": options}
    return caller.send("parents.scripted", calls=[call])


def test_countdown_delays_the_run_from_its_parents_success(caller: Caller) -> None:
    parent = deferred_with(caller, countdown=1)

    answer = caller.child(parent, "next")

    assert answer["began"] - answer["run"]["deferred_at"] >= 1


def test_eta_is_when_the_run_starts(caller: Caller) -> None:
    eta = datetime.now(timezone.utc) + timedelta(seconds=1)
    parent = deferred_with(caller, eta=eta.isoformat())

    assert caller.child(parent, "next")["began"] >= eta.timestamp()


def test_a_run_that_has_expired_never_starts(caller: Caller) -> None:
    parent = deferred_with(caller, countdown=1, expires=0.5)

    assert caller.end(run_id(parent, "next"))["status"] == "REVOKED"
    assert caller.marks("began", run_id(parent, "next")) == 0


def test_expires_lets_a_run_that_is_in_time_start(caller: Caller) -> None:
    parent = deferred_with(caller, expires=60)

    assert caller.child(parent, "next")["n"] == 1


def test_queue_is_where_the_run_goes(caller: Caller) -> None:
    parent = deferred_with(caller, queue="side")

    assert caller.child(parent, "next")["queue"] == "side"


def test_a_run_without_a_queue_goes_where_celery_routes_its_task(caller: Caller) -> None:
    parent = deferred_with(caller)

    assert caller.child(parent, "next")["queue"] == "celery"


def test_priority_is_the_messages(caller: Caller) -> None:
    parent = deferred_with(caller, priority=6)

    assert caller.child(parent, "next")["priority"] == 6


def test_headers_are_in_the_request(caller: Caller) -> None:
    parent = deferred_with(caller, headers={"tenant": "acme"})

    assert caller.child(parent, "next")["headers"]["tenant"] == "acme"


def test_options_of_one_call_are_not_those_of_the_next(caller: Caller) -> None:
    calls = [
        {"id": "with", "kind": "plain", "n": 1, "options": {"queue": "side", "priority": 6}},
        {"id": "without", "kind": "plain", "n": 1},
    ]
    parent = caller.send("parents.scripted", calls=calls)

    answers = [caller.child(parent, id) for id in ("with", "without")]

    assert [(a["queue"], a["priority"]) for a in answers] == [("side", 6), ("celery", 0)]


def test_a_countdown_does_not_hold_back_the_calls_beside_it(caller: Caller) -> None:
    calls = [
        {"id": "late", "kind": "plain", "n": 1, "options": {"countdown": 30}},
        {"id": "at-once", "kind": "plain", "n": 1},
    ]
    parent = caller.send("parents.scripted", calls=calls)
    caller.revoke(run_id(parent, "late"))

    answer = caller.child(parent, "at-once")

    assert answer["began"] - answer["run"]["deferred_at"] < 10
