"""What Celery does with its tasks is the same with the package as without it (rule 5.6).

Each scenario runs on two workers, one of an app with Defer(app), where the tasks defer, and
one of an app without, where they cannot; states and results must be equal.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from celery import chain, chord, group

from celery_defer import run_id
from tests.support.processes import wait_until
from tests.worker.caller import Caller
from tests.worker.local import LocalWorker

pytestmark = pytest.mark.in_each_way

CONFIG = '{"worker_deduplicate_successful_tasks": true}'

#: Sends, and answers what waits for the outcome.
Scenario = Callable[[Caller], Callable[[], Any]]


@pytest.fixture(scope="module")
def workers(start_module_worker: Callable[..., LocalWorker]) -> list[LocalWorker]:
    """One without the package, one with it; each has one process."""
    env = {"DEFER_TEST_CONFIG": CONFIG}
    workers = [
        start_module_worker("without", "--concurrency", "1", env={**env, "DEFER_TEST_PLAIN": "1"}),
        start_module_worker("with", "--concurrency", "1", env=env),
    ]
    for worker in workers:
        worker.ready()
    return workers


@pytest.fixture
def callers(workers: list[LocalWorker], caller_of: Callable[[LocalWorker], Caller]) -> list[Caller]:
    return [caller_of(worker) for worker in workers]


@pytest.fixture
def deferring(callers: list[Caller]) -> Caller:
    return callers[1]


def outcome(c: Caller, run: str) -> tuple[str, str]:
    meta = c.end(run)
    return meta["status"], repr(meta["result"])


def noted(c: Caller, of: str) -> int:
    """Wait for the callback, and answer how often it was called."""
    wait_until(lambda: c.marks("noted", of), "the callback")
    c.settle()
    return c.marks("noted", of)


def a_chain(c: Caller) -> Callable[[], Any]:
    parts = [c.signature("canvas.add", 1, 1), *(c.signature("canvas.add", n) for n in (10, 100))]
    last = chain(*parts, app=c.app).apply_async()
    runs = [last.id, last.parent.id, last.parent.parent.id]
    return lambda: [outcome(c, run) for run in runs]


def a_chain_that_breaks(c: Caller) -> Callable[[], Any]:
    parts = [c.signature("canvas.fail"), c.signature("canvas.add", 1)]
    last = chain(*parts, app=c.app).apply_async()

    def result() -> Any:
        first = outcome(c, last.parent.id)
        c.settle()
        return first, c.meta(last.id)["status"], c.marks("began", last.id)

    return result


def a_group(c: Caller) -> Callable[[], Any]:
    members = group([c.signature("canvas.add", n, n) for n in range(4)], app=c.app).apply_async()
    return lambda: [outcome(c, member.id) for member in members]


def a_chord(c: Caller) -> Callable[[], Any]:
    header = [c.signature("canvas.add", n, n) for n in range(4)]
    body = chord(header, c.signature("canvas.total"), app=c.app).apply_async()
    return lambda: [outcome(c, run.id) for run in (body, *body.parent)]


def a_chord_that_breaks(c: Caller) -> Callable[[], Any]:
    header = [c.signature("canvas.add", 1, 1), c.signature("canvas.fail")]
    body = chord(header, c.signature("canvas.total"), app=c.app).apply_async()
    broken = body.parent[1].id
    return lambda: [text.replace(broken, "the member") for text in outcome(c, body.id)]


def a_link(c: Caller) -> Callable[[], Any]:
    of = str(uuid4())
    link = c.signature("canvas.note", of=of)
    run = c.signature("canvas.add", 1, 1).apply_async(link=link).id
    return lambda: (outcome(c, run), noted(c, of))


def a_link_error(c: Caller) -> Callable[[], Any]:
    of = str(uuid4())
    errback = c.signature("canvas.note", of=of).set(immutable=True)
    run = c.signature("canvas.fail").apply_async(link_error=errback).id
    return lambda: (outcome(c, run), noted(c, of))


def a_task_that_replaces_itself(c: Caller) -> Callable[[], Any]:
    run = c.send("canvas.replaced", 3)
    return lambda: outcome(c, run)


def acks_late(c: Caller) -> Callable[[], Any]:
    run = c.send("canvas.late", of="acks-late")
    return lambda: outcome(c, run)


def a_redelivery_that_celery_leaves_out(c: Caller) -> Callable[[], Any]:
    run, result = _deliver_twice(c)
    return lambda: (c.end(run)["status"], result())


def _deliver_twice(c: Caller) -> tuple[str, Callable[[], int]]:
    of, unread = str(uuid4()), f"unread-{uuid4()}"
    run = c.send_with({"queue": unread}, "canvas.late", of=of)
    message = json.loads(c.redis.lpop(unread))
    c.redis.lpush(c.worker.worker_queue, json.dumps(message))

    def result() -> int:
        c.result(run)
        message["properties"]["delivery_info"]["redelivered"] = True
        message["properties"]["delivery_tag"] = str(uuid4())
        c.redis.lpush(c.worker.worker_queue, json.dumps(message))
        c.settle()
        return c.marks("late", of)

    return run, result


def a_result_that_is_ignored(c: Caller) -> Callable[[], Any]:
    of = str(uuid4())
    link = c.signature("canvas.note", of=of)
    run = c.signature("canvas.ignored", 1).apply_async(link=link).id
    return lambda: (noted(c, of), c.meta(run)["status"], c.meta(run)["result"])


def a_soft_limit(c: Caller) -> Callable[[], Any]:
    runs = [c.send("canvas.soft_limit", caught=caught) for caught in (True, False)]
    return lambda: [outcome(c, run) for run in runs]


def a_hard_limit(c: Caller) -> Callable[[], Any]:
    run = c.send("canvas.hard_limit")
    return lambda: outcome(c, run)


def a_revoke_before_the_start(c: Caller) -> Callable[[], Any]:
    run = str(uuid4())
    c.revoke(run)
    c.send_with({"task_id": run}, "canvas.add", 1, 1)
    return lambda: (outcome(c, run), c.marks("began", run))


def a_revoke_that_terminates(c: Caller) -> Callable[[], Any]:
    run = c.send("parents.held", calls=[{"id": "next", "kind": "plain", "n": 1}])
    wait_until(lambda: c.marks("waiting", run), "the body waits")
    c.revoke(run, terminate=True)
    return lambda: (outcome(c, run), c.never_ran(run_id(run, "next")))


SCENARIOS: list[Scenario] = [
    a_chain,
    a_chain_that_breaks,
    a_group,
    a_chord,
    a_chord_that_breaks,
    a_link,
    a_link_error,
    a_task_that_replaces_itself,
    acks_late,
    a_redelivery_that_celery_leaves_out,
    a_result_that_is_ignored,
    a_soft_limit,
    a_hard_limit,
    a_revoke_before_the_start,
    a_revoke_that_terminates,
]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_states_and_results_are_those_without_the_package(
    callers: list[Caller], scenario: Scenario
) -> None:
    waiting = [scenario(caller) for caller in callers]
    without, with_package = [wait() for wait in waiting]

    assert with_package == without


def test_each_task_of_a_chain_publishes_what_it_deferred(deferring: Caller) -> None:
    parts = [deferring.signature("canvas.add", 1, 1), deferring.signature("canvas.add", 10)]
    last = chain(*parts, app=deferring.app).apply_async()

    for run in (last.parent.id, last.id):
        assert deferring.child(run, "follow-up")["run"]["root_id"] == last.parent.id
        assert run_id(run, "follow-up") in deferring.children(run)


def test_the_members_and_the_body_of_a_chord_publish_what_they_deferred(
    deferring: Caller,
) -> None:
    header = [deferring.signature("canvas.add", n, n) for n in range(2)]
    body = chord(header, deferring.signature("canvas.total"), app=deferring.app).apply_async()

    for run in (*body.parent, body):
        assert deferring.child(run.id, "follow-up")["run"]["parent"]["id"] == run.id


def test_a_linked_parent_lists_its_callback_beside_its_deferred_run(deferring: Caller) -> None:
    link = deferring.signature("canvas.add", 1).set(task_id=str(uuid4()))
    run = deferring.signature("canvas.add", 1, 1).apply_async(link=link).id

    assert set(deferring.children(run)) == {link.id, run_id(run, "follow-up")}


def test_a_parent_whose_result_is_ignored_publishes(deferring: Caller) -> None:
    run = deferring.send("canvas.ignored", 1)

    assert deferring.child(run, "follow-up")["run"]["parent_result"] == "none is kept"


def test_a_redelivery_that_celery_leaves_out_publishes_nothing_again(deferring: Caller) -> None:
    run, times_run = _deliver_twice(deferring)
    deferring.child(run, "follow-up")

    assert times_run() == 1
    assert deferring.marks("before-publish", run_id(run, "follow-up")) == 1
    assert deferring.marks("began", run_id(run, "follow-up")) == 1


def test_a_task_that_replaces_itself_publishes_only_what_its_replacement_deferred(
    deferring: Caller,
) -> None:
    """The replacement runs under the same id, and defers under the same defer id."""
    run = deferring.send("canvas.replaced", 3)
    answer = deferring.child(run, "follow-up")
    deferring.settle()

    assert answer["run"]["parent"]["task"] == "canvas.add"
    assert deferring.marks("before-publish", run_id(run, "follow-up")) == 1


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [("canvas.soft_limit", {"caught": False}), ("canvas.hard_limit", {})],
)
def test_a_parent_stopped_by_a_time_limit_publishes_nothing(
    deferring: Caller, name: str, kwargs: dict[str, Any]
) -> None:
    run = deferring.send(name, **kwargs)

    assert deferring.end(run)["status"] == "FAILURE"
    assert deferring.never_ran(run_id(run, "follow-up"))
    assert deferring.children(run) == []


def test_a_parent_that_caught_its_soft_limit_publishes(deferring: Caller) -> None:
    run = deferring.send("canvas.soft_limit", caught=True)

    assert deferring.child(run, "follow-up")["run"]["parent_result"] == "in time"
