"""`abort(parent_id, defer_id)` from another process, at any time (3.8)."""

from __future__ import annotations

import sys

import pytest

from celery_defer import run_id
from tests.support.processes import wait_until
from tests.worker.caller import Caller
from tests.worker.local import IN_DOCKER

pytestmark = pytest.mark.in_each_way

PYTHON = "python" if IN_DOCKER else sys.executable
NEXT = {"id": "next", "kind": "plain", "n": 1}
_CODE = (
    "from tests.worker import tasks; from celery_defer import abort;"
    " print('answer', abort({parent!r}, 'next'))"
)


def abort(caller: Caller, parent: str) -> bool:
    """Call it in a process of its own, which has the worker's app."""
    code = _CODE.format(parent=parent)
    status, said = caller.worker.container.exec_run(f'{PYTHON} -c "{code}"')
    assert status == 0, said
    return b"answer True" in said


def held(caller: Caller) -> str:
    """Start a parent that is in its body until the test lets it go."""
    parent = caller.send("parents.held", calls=[NEXT])
    wait_until(lambda: caller.marks("waiting", parent), "the body waits")
    return parent


def test_before_the_parent_has_ended(caller: Caller) -> None:
    parent = held(caller)

    assert abort(caller, parent)
    caller.go(parent)

    assert caller.result(parent) == "done"
    caller.settle()
    assert caller.marks("began", run_id(parent, "next")) == 0
    assert caller.meta(run_id(parent, "next"))["status"] == "ABORTED"


def test_after_publication_before_the_start_and_again(caller: Caller) -> None:
    parent = held(caller)
    busy = caller.send("parents.held", calls=[])  # before the deferred run, which comes later
    caller.go(parent)
    wait_until(lambda: caller.marks("after-publish", run_id(parent, "next")), "it is published")

    answers = [abort(caller, parent), abort(caller, parent)]
    caller.go(busy)

    assert answers == [True, True]
    caller.settle()
    assert caller.marks("began", run_id(parent, "next")) == 0
    assert caller.meta(run_id(parent, "next"))["status"] == "ABORTED"
    assert caller.meta(run_id(parent, "next"))["parent_id"] == parent


def test_a_run_that_waits_for_its_countdown(caller: Caller) -> None:
    call = {**NEXT, "options": {"countdown": 2}}
    after = {"id": "after", "kind": "plain", "n": 1, "options": {"countdown": 3}}
    parent = caller.send("parents.scripted", calls=[call, after])
    caller.result(parent)

    assert abort(caller, parent)

    caller.child(parent, "after")
    caller.settle()
    assert caller.marks("began", run_id(parent, "next")) == 0
    assert caller.meta(run_id(parent, "next"))["status"] == "ABORTED"


def test_it_is_too_late_after_the_start(caller: Caller) -> None:
    parent = caller.send("parents.scripted", calls=[NEXT])
    caller.child(parent, "next")

    assert not abort(caller, parent)

    assert caller.meta(run_id(parent, "next"))["status"] == "SUCCESS"


def test_in_a_parent_that_does_not_exist_yet(caller: Caller) -> None:
    parent = "0a70a6e2-8f2e-4f8e-9a8e-2f9f0f4b7c11"

    assert abort(caller, parent)

    caller.send_with({"task_id": parent}, "parents.scripted", calls=[NEXT])
    caller.result(parent)
    caller.settle()
    assert caller.marks("began", run_id(parent, "next")) == 0
