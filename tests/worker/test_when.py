"""When deferred runs start: on success, on failure, on either, at once (4.2 and 4.3)."""

from __future__ import annotations

import pytest

from celery_defer import run_id
from tests.support.processes import wait_until
from tests.worker.caller import Caller

pytestmark = pytest.mark.in_each_way

WHENS = ("success", "failure", "always", "now")


def calls() -> list[dict[str, object]]:
    """One call of each kind, its id is its `when`."""
    return [{"id": when, "kind": "plain", "n": 1, "options": {"when": when}} for when in WHENS]


def began(caller: Caller, parent: str) -> dict[str, int]:
    """Return how often each deferred run of *parent* began."""
    caller.settle()
    return {when: caller.marks("began", run_id(parent, when)) for when in WHENS}


def test_a_success_starts_what_waits_for_it(caller: Caller) -> None:
    parent = caller.send("parents.scripted", calls=calls())
    caller.result(parent)

    assert began(caller, parent) == {"success": 1, "failure": 0, "always": 1, "now": 1}


@pytest.mark.parametrize("end", ["fail", "not-json"])
def test_a_failure_starts_what_waits_for_it(caller: Caller, end: str) -> None:
    """An answer that has no JSON is a failure that comes after the body."""
    parent = caller.send("parents.scripted", calls=calls(), end=end)
    assert caller.end(parent)["status"] == "FAILURE"

    assert began(caller, parent) == {"success": 0, "failure": 1, "always": 1, "now": 1}


def test_a_run_that_is_ignored_starts_nothing_but_what_it_started_at_once(caller: Caller) -> None:
    parent = caller.send("parents.scripted", calls=calls(), end="ignore")
    caller.child(parent, "now")

    assert began(caller, parent) == {"success": 0, "failure": 0, "always": 0, "now": 1}


def test_a_run_deferred_on_failure_reads_its_parents_error(caller: Caller) -> None:
    call = {"id": "alarm", "kind": "plain", "n": 1, "options": {"when": "failure"}}
    parent = caller.send("parents.scripted", calls=[call], end="fail")

    run = caller.child(parent, "alarm")["run"]

    assert run["parent"]["when"] == "failure"
    assert "the parent fails" in str(run["parent_result"])


def test_now_is_published_while_the_parent_is_in_its_body(caller: Caller) -> None:
    parent = caller.send("parents.held", calls=calls())
    wait_until(lambda: caller.marks("waiting", parent), "the body waits")

    published = {when: caller.marks("after-publish", run_id(parent, when)) for when in WHENS}
    caller.go(parent)
    caller.result(parent)

    assert published == {"success": 0, "failure": 0, "always": 0, "now": 1}
    assert began(caller, parent)["now"] == 1


def test_a_body_that_is_killed_has_published_what_it_published_at_once(caller: Caller) -> None:
    """So what its database says was sent has been sent: see the page on moving a project."""
    parent = caller.send("parents.held", calls=calls())
    wait_until(lambda: caller.marks("waiting", parent), "the body waits")

    caller.revoke(parent, terminate=True)
    caller.child(parent, "now")

    assert began(caller, parent) == {"success": 0, "failure": 0, "always": 0, "now": 1}


@pytest.mark.parametrize("when", ["failure", "always"])
def test_a_retry_starts_nothing_and_the_last_failure_does(caller: Caller, when: str) -> None:
    """4.3: the attempt that ends the run decides."""
    parent = caller.send("parents.retried_out", when=when)
    assert caller.end(parent)["status"] == "FAILURE"

    assert caller.child(parent, "only-2")["n"] == 2
    assert caller.child(parent, "every")["n"] == 2
    caller.settle()
    assert caller.marks("began", run_id(parent, "only-1")) == 0
    assert caller.marks("retried", parent) == 1


def test_always_waits_for_the_attempt_that_succeeds(caller: Caller) -> None:
    """4.3"""
    parent = caller.send("parents.retrying")
    caller.result(parent)

    assert caller.child(parent, "every")["n"] == 2
    assert caller.child(parent, "only-2")["n"] == 2
    assert caller.never_ran(run_id(parent, "only-1"))


@pytest.mark.parametrize("when", ["success", "failure", "always"])
def test_a_hard_time_limit_takes_the_calls_with_the_body(caller: Caller, when: str) -> None:
    """Its process is killed in the body, where calls are in memory still."""
    parent = caller.send("canvas.hard_limit", when=when)
    assert caller.end(parent)["status"] == "FAILURE"

    assert caller.never_ran(run_id(parent, "follow-up"))
