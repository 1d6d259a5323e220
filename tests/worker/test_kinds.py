"""Every kind of Celery task is a parent, and is a deferred function (rules 2.1 and 3.2)."""

from __future__ import annotations

from typing import Any

import pytest

from celery_defer import run_id
from tests.worker.caller import Caller

KINDS = [
    "plain",
    "bound",
    "shared",
    "class_based",
    "own_base",
    "own_call",
    "pydantic",
    "schema",
    "made_by_deferred",
    "autoretry",
    "late",
]
#: What a kind's own machinery adds to the answer; without it, it has been bypassed.
ADDED: dict[str, dict[str, Any]] = {
    "bound": {"bound_to": "kinds.bound"},
    "own_base": {"colour": "green"},
    "own_call": {"called": True},
    "schema": {"got": "Order"},
}
AT = "2026-11-20T10:00:00+01:00"


def send(caller: Caller, kind: str, **fields: Any) -> str:
    if kind == "schema":
        return caller.send("kinds.schema", fields)
    if kind == "pydantic":
        return caller.send("kinds.pydantic", order=fields)
    return caller.send(f"kinds.{kind}", **fields)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_task_is_a_parent(caller: Caller, kind: str) -> None:
    parent = send(caller, kind, n=1, then="plain")

    answer = caller.child(parent, "next")

    assert answer["n"] == 2
    assert answer["run"]["parent"]["task"] == f"kinds.{kind}"
    assert caller.children(parent) == [run_id(parent, "next")]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_task_is_a_deferred_function(caller: Caller, kind: str) -> None:
    parent = send(caller, "plain", n=1, at=AT, then=kind)

    answer = caller.child(parent, "next")

    # Rule 2.4: the body gets the parsed object.
    assert (answer["n"], answer["at"]) == (2, "datetime")
    assert answer["run"]["parent"]["id"] == parent
    assert answer["run"]["attempt"] == (2 if kind == "autoretry" else 1)
    assert {key: answer[key] for key in ADDED.get(kind, {})} == ADDED.get(kind, {})


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_called_by_name_gets_what_it_was_sent(caller: Caller, kind: str) -> None:
    run = send(caller, kind, n=1, at=AT)

    answer = caller.result(run)

    # Celery's own pydantic option and the test's `Order.model_validate` parse; nothing else does.
    assert answer["at"] == ("datetime" if kind in {"pydantic", "schema"} else "str")
    assert answer.get("got", "dict") == "dict"
    assert answer["run"]["parent"] is None
    assert caller.marks("began", run) == (2 if kind == "autoretry" else 1)


def test_an_attempt_that_autoretry_throws_away_publishes_nothing(caller: Caller) -> None:
    """4.3: the first attempt defers too, then fails into a retry."""
    parent = send(caller, "autoretry", n=1, then="plain")
    caller.child(parent, "next")
    caller.settle()

    assert caller.marks("before-publish", run_id(parent, "next")) == 1
    assert caller.marks("began", run_id(parent, "next")) == 1
