"""Parent and deferred run know of each other; only a success publishes (sections 4 and 6)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from celery_defer import run_id
from tests.support.processes import wait_until
from tests.worker.caller import Caller

pytestmark = pytest.mark.in_each_way

NEXT = {"id": "next", "kind": "plain", "n": 1}


def test_children_of_a_succeeded_parent_are_its_deferred_runs(caller: Caller) -> None:
    """6.1"""
    calls = [{"id": id, "kind": "plain", "n": 1} for id in ("a", "b", "c")]
    parent = caller.send("parents.scripted", calls=calls)

    assert caller.children(parent) == [run_id(parent, id) for id in ("a", "b", "c")]


def test_the_first_thousand_deferred_runs_are_listed_and_all_are_published(
    caller: Caller,
) -> None:
    """6.1 and 3.7: every call arrives, also beyond what the result lists."""
    queue = f"linked-{uuid4()}"
    parent = caller.send("parents.many", count=1_005, queue=queue)
    runs = [run_id(parent, f"call-{n}") for n in range(1_005)]

    wait_until(lambda: caller.redis.llen(queue) >= 1_005, "all are published")
    published = [json.loads(raw)["headers"]["id"] for raw in caller.redis.lrange(queue, 0, -1)]

    assert published[::-1] == runs
    assert caller.children(parent) == runs[:1_000]


def test_a_deferred_runs_stored_result_has_its_parent(caller: Caller) -> None:
    """6.1"""
    parent = caller.send("parents.scripted", calls=[NEXT])
    caller.child(parent, "next")

    assert caller.meta(run_id(parent, "next"))["parent_id"] == parent


def test_a_deferred_run_knows_its_root_its_parent_and_its_parents_result(caller: Caller) -> None:
    """6.3 and 4.1: SUCCESS is stored before the deferred run starts."""
    root = "f2b1cf3a-0000-4000-8000-000000000001"
    parent = caller.send_with({"root_id": root}, "parents.scripted", calls=[NEXT])

    run = caller.child(parent, "next")["run"]

    assert run["id"] == run_id(parent, "next")
    assert run["root_id"] == root
    assert run["task"] == "kinds.plain"
    assert run["attempt"] == 1
    assert run["parent"] == {
        "id": parent,
        "task": "parents.scripted",
        "defer_id": "next",
        "when": "success",
        "experiment": None,
    }
    assert run["parent_result"] == "done"


@pytest.mark.parametrize(
    ("end", "status"), [("fail", "FAILURE"), ("reject", "FAILURE"), ("not-json", "FAILURE")]
)
def test_a_parent_that_does_not_succeed_publishes_and_lists_nothing(
    caller: Caller, end: str, status: str
) -> None:
    """4.1 and 6.1; "not-json": Celery finds only after the body that it is no success."""
    parent = caller.send("parents.scripted", calls=[NEXT], end=end)

    assert caller.end(parent)["status"] == status
    assert caller.never_ran(run_id(parent, "next"))
    # After all is quiet: Celery has stored the links for a moment where the answer has no JSON.
    assert caller.children(parent) == []


def test_an_ignored_parent_publishes_nothing(caller: Caller) -> None:
    """4.1"""
    parent = caller.send("parents.scripted", calls=[NEXT], end="ignore")

    assert caller.never_ran(run_id(parent, "next"))
    assert caller.meta(parent)["status"] == "PENDING"


def test_a_retry_throws_the_attempts_calls_away(caller: Caller) -> None:
    """4.3: the attempt that finishes decides."""
    parent = caller.send("parents.retrying")

    assert caller.child(parent, "every")["n"] == 2
    assert caller.child(parent, "only-2")["n"] == 2
    assert caller.children(parent) == [run_id(parent, "only-2"), run_id(parent, "every")]
    assert caller.never_ran(run_id(parent, "only-1"))


def test_a_deferred_run_is_published_when_its_parents_success_is_stored(caller: Caller) -> None:
    """4.1: not before, when the parent could still fail."""
    with caller.redis.monitor() as monitor:
        parent = caller.send("parents.scripted", calls=[NEXT])
        child = run_id(parent, "next")
        caller.child(parent, "next")
        caller.redis.echo("all has been seen")
        seen = list(commands_until(monitor, "ECHO all has been seen"))

    stored = place_of(seen, "SETEX", f"celery-task-meta-{parent}", "SUCCESS")
    published = place_of(seen, "LPUSH", child)
    # A script may do both, in either order: nobody sees one without the other.
    between = seen[published : stored + 1]
    assert all(command["client_type"] == "lua" for command in between)
    assert caller.marks("before-publish", child) == 1


def commands_until(monitor: Any, last: str) -> Iterator[dict[str, str]]:
    while (command := monitor.next_command())["command"] != last:
        yield command


def place_of(commands: list[dict[str, str]], name: str, *words: str) -> int:
    """Return the place of the first command of that name with all *words* in it."""
    return next(
        place
        for place, command in enumerate(commands)
        if command["command"].upper().startswith(name)
        and all(word in command["command"] for word in words)
    )


def test_an_aborted_call_is_not_published(caller: Caller) -> None:
    """3.8: and the parent's record shows ABORTED."""
    parent = caller.send("parents.aborting")
    caller.child(parent, "kept")

    assert caller.never_ran(run_id(parent, "aborted"))
    assert caller.children(parent) == [run_id(parent, "kept")]
    assert caller.meta(run_id(parent, "aborted"))["status"] == "ABORTED"


def test_a_task_called_as_a_function_defers_for_the_run_that_calls_it(caller: Caller) -> None:
    """3.2"""
    parent = caller.send("parents.calling")

    assert caller.child(parent, "next")["run"]["parent"]["task"] == "parents.calling"
    assert caller.result(parent)["run"]["task"] == "parents.calling"


def test_a_task_applied_inside_another_is_a_run_of_its_own(caller: Caller) -> None:
    """3.2: what it defers runs there, inline; the outer run keeps its own calls."""
    parent = caller.send("parents.applying")
    inner = caller.result(parent)

    assert caller.child(parent, "own")["n"] == 5
    assert caller.children(parent) == [run_id(parent, "own")]
    assert caller.marks("began", run_id(inner, "next")) == 1
    assert caller.marks("before-publish", run_id(inner, "next")) == 0


def test_a_deferred_function_defers(caller: Caller) -> None:
    """3.2: every run of the family has the one root, and its own parent."""
    first = caller.send("children.nested", n=3)
    runs = [first]
    for _ in range(3):
        runs.append(run_id(runs[-1], "deeper"))

    answers = [caller.result(run) for run in runs]

    assert [answer["n"] for answer in answers] == [3, 2, 1, 0]
    assert {answer["run"]["root_id"] for answer in answers} == {first}
    assert [answer["run"]["parent"]["id"] for answer in answers[1:]] == runs[:-1]
    assert caller.children(runs[1]) == [runs[2]]


def test_a_helper_three_calls_down_defers(caller: Caller) -> None:
    """3.2 and 3.4: the handle's id is that of the run."""
    parent = caller.send("parents.three_down")

    assert caller.result(parent) == run_id(parent, "deep")
    assert caller.child(parent, "deep")["n"] == 3


def test_a_deferred_run_that_retries_keeps_its_parent_and_its_parsed_payload(
    caller: Caller,
) -> None:
    """6.3 and 2.4"""
    call = {"id": "next", "kind": "retrying", "n": 1, "at": "2026-11-20T10:00:00+00:00"}
    parent = caller.send("parents.scripted", calls=[call])

    answer = caller.child(parent, "next")

    assert answer["run"]["attempt"] == 3
    assert answer["run"]["parent"]["id"] == parent
    assert answer["run"]["parent"]["defer_id"] == "next"
    assert answer["run"]["deferred_at"] is not None
    assert caller.marks("payload-datetime", run_id(parent, "next")) == 3


def test_a_deferred_run_that_fails_leaves_its_parent_alone(caller: Caller) -> None:
    """4.5"""
    parent = caller.send("parents.scripted", calls=[{**NEXT, "kind": "failing"}])
    child = caller.end(run_id(parent, "next"))

    assert child["status"] == "FAILURE"
    assert caller.result(parent) == "done"


def test_a_deferred_run_that_is_revoked_leaves_its_parent_alone(caller: Caller) -> None:
    """4.5; and 3.4: its id is known before its parent has begun."""
    parent = "f2b1cf3a-0000-4000-8000-000000000002"
    caller.revoke(run_id(parent, "next"))
    caller.send_with({"task_id": parent}, "parents.scripted", calls=[NEXT])

    assert caller.end(run_id(parent, "next"))["status"] == "REVOKED"
    assert caller.result(parent) == "done"
    assert caller.marks("began", run_id(parent, "next")) == 0


def test_a_bad_call_is_skipped_and_the_parent_goes_on(caller: Caller) -> None:
    """3.5: logged with the run's id, the defer id and the reason; recorded as SKIPPED."""
    parent = caller.send("parents.bad_call")

    reason = caller.result(parent)
    caller.settle()
    record = caller.meta(run_id(parent, "bad"))

    assert "n: Input should be a valid integer" in reason
    assert record["status"] == "SKIPPED"
    payload = '{"n": "not a number"}'
    assert record["result"] == {"defer_id": "bad", "reason": reason, "payload": payload}
    assert f"defer 'bad' of run {parent}" in caller.worker.logs()
    assert caller.children(parent) == []
