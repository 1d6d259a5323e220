"""A payload is validated again where the run starts (rule 2.5): publishers may be older."""

from __future__ import annotations

import time
from typing import Any

from celery_defer import PayloadError
from tests.worker.caller import Caller

# What a publisher with another contract put on the wire; see celery_defer/envelope.py.
HEADERS = {"celery_defer": {"id": "next", "parent": "parents.scripted", "at": time.time()}}
OPTIONS: dict[str, Any] = {
    "headers": HEADERS,
    "parent_id": "f2b1cf3a-0000-4000-8000-000000000003",
}
BAD = {"n": "seven", "at": "tomorrow"}


def test_a_payload_that_does_not_validate_on_arrival_fails_the_run(caller: Caller) -> None:
    run = caller.send_with(OPTIONS, "children.strict", **BAD)

    meta = caller.end(run)

    assert meta["status"] == "FAILURE"
    assert isinstance(meta["result"], PayloadError)
    n, at = meta["result"].problems
    assert n.startswith("n: Input should be a valid integer")
    assert at.startswith("at: Input should be a valid datetime")
    assert caller.marks("body", run) == 0


def test_a_missing_and_an_unknown_argument_are_both_listed(caller: Caller) -> None:
    run = caller.send_with(OPTIONS, "children.strict", n=1, when="now")

    error = caller.end(run)["result"]

    assert sorted(problem.partition(":")[0] for problem in error.problems) == ["at", "when"]


def test_a_payload_that_validates_reaches_the_body(caller: Caller) -> None:
    run = caller.send_with(OPTIONS, "children.strict", n=7, at="2026-11-20T10:00:00Z")

    caller.result(run)

    assert caller.marks("body", run) == 1


def test_celery_retries_a_payload_error_where_the_task_says_so(caller: Caller) -> None:
    run = caller.send_with(OPTIONS, "children.strict_retried", **BAD)

    meta = caller.end(run)

    assert meta["status"] == "FAILURE"
    assert isinstance(meta["result"], PayloadError)
    assert caller.marks("retried", run) == 3
    assert caller.marks("body", run) == 0


def test_a_call_by_name_is_not_validated(caller: Caller) -> None:
    """2.1: without the header it is a plain task, with the arguments that it was sent."""
    run = caller.send("children.strict", **BAD)

    caller.result(run)

    assert caller.marks("body", run) == 1
