"""A message that comes twice starts one run; what Celery repeats itself stays (5.4 and 5.5)."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from celery_defer import run_id
from tests.support.processes import wait_until
from tests.worker.caller import Caller

pytestmark = pytest.mark.in_each_way

NEXT = {"id": "next", "kind": "plain", "n": 1}


def message_of_next(caller: Caller, **call: object) -> tuple[str, str]:
    """Return a deferred run's id and its raw message, taken from a queue that nobody reads."""
    options = {"queue": "looked-at"}
    parent = caller.send("parents.scripted", calls=[{**NEXT, **call, "options": options}])
    raw = wait_until(lambda: caller.redis.rpop("looked-at"), "the message")
    caller.result(parent)
    return run_id(parent, "next"), raw


def deliver(caller: Caller, raw: str) -> None:
    queue = caller.worker.worker_queue
    caller.redis.lpush(queue, raw.replace("looked-at", queue))


def redelivered(raw: str) -> str:
    """Do what kombu.transport.redis.Channel._do_restore_message does."""
    message = json.loads(raw)
    message["headers"]["redelivered"] = True
    message["properties"]["delivery_info"]["redelivered"] = True
    return json.dumps(message)


def published_again(raw: str) -> str:
    """Do what a relay does that cannot know of the first publication."""
    message = json.loads(raw)
    message["headers"]["celery_defer"]["token"] += ".1"
    return json.dumps(message)


def test_a_deferred_runs_message_that_is_copied_starts_one_run(caller: Caller) -> None:
    run, raw = message_of_next(caller)

    for _ in range(3):
        deliver(caller, raw)

    caller.result(run)
    caller.settle()
    assert caller.marks("began", run) == 1
    assert caller.worker.logs().count(f"run {run} (kinds.plain) has been started") == 2


def test_a_deferred_run_that_is_published_again_starts_once(caller: Caller) -> None:
    run, raw = message_of_next(caller)

    for each in (raw, published_again(raw), redelivered(published_again(raw))):
        deliver(caller, each)

    caller.result(run)
    caller.settle()
    assert caller.marks("began", run) == 1


def test_a_redelivery_of_a_deferred_run_is_celerys(caller: Caller) -> None:
    """5.5: what Redis gives back after the visibility timeout runs again, as without us."""
    run, raw = message_of_next(caller)

    deliver(caller, raw)
    deliver(caller, redelivered(raw))

    caller.result(run)
    caller.settle()
    assert caller.marks("began", run) == 2


def test_retries_of_a_deferred_run_are_celerys(caller: Caller) -> None:
    """5.5: and a copy of its first message changes nothing."""
    run, raw = message_of_next(caller, kind="retrying", at="2026-11-20T10:00:00Z")

    deliver(caller, raw)
    deliver(caller, raw)

    assert caller.result(run)["run"]["attempt"] == 3
    caller.settle()
    assert caller.marks("began", run) == 3


def test_a_parent_that_is_delivered_twice_has_its_deferred_runs_once(caller: Caller) -> None:
    parent = str(uuid4())

    for _ in range(2):
        caller.send_with({"task_id": parent}, "parents.many", count=3)

    runs = [run_id(parent, f"call-{n}") for n in range(3)]
    assert [caller.result(run)["n"] for run in runs] == [0, 1, 2]
    caller.settle()
    assert caller.marks("began", parent) == 2
    assert [caller.marks("began", run) for run in runs] == [1, 1, 1]
    assert caller.outbox_is_empty()
