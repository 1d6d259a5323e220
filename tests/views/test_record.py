"""What the record of a run says, in a simulation: no time passes unless the test says so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from celery import Celery, current_task

from celery_defer import DeferHandle, abort, defer, deferred, deferring, run_id, send_event, step
from celery_defer.errors import NonRetriable, NoRecordError, StepError
from celery_defer.store import RunState
from celery_defer.testing import Simulation
from celery_defer.views import RunRow, record, tree
from tests.support.inside import parent_of

START = datetime(2030, 1, 7, 9, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


@pytest.fixture
def sim(app: Celery) -> Iterator[Simulation]:
    with Simulation(app, now=START) as simulation:
        yield simulation


@pytest.fixture
def fail(app: Celery) -> Any:
    @deferred
    @app.task(name="fail")
    def fail(n: int) -> None:
        raise ValueError(f"no {n}")

    return fail


def states(rows: Any) -> dict[str | None, RunState]:
    return {row.defer_id: row.state for row in rows}


def one(id: str, task: Any, **payload: Any) -> Any:
    """Return a body with one call."""

    def body() -> None:
        defer(id, task, **payload)

    return body


def only_call(run: str) -> RunRow:
    [row] = record(run).defers
    return row


# -- calls --------------------------------------------------------------------------------


def test_the_calls_of_a_run_in_the_order_in_which_they_were_made(
    app: Celery, sim: Simulation, ship: Any, fail: Any
) -> None:
    def body() -> None:
        for id, task in [("z", ship), ("a", fail), ("m", ship)]:
            defer(id, task, n=1)

    parent = sim.run(parent_of(app, body))
    before = record(parent.id)
    runs = sim.drain()
    after = record(parent.id)

    assert [run.state for run in runs] == ["SUCCESS", "FAILURE", "SUCCESS"]
    assert [row.defer_id for row in before.defers] == ["z", "a", "m"]
    assert {row.state for row in before.defers} == {RunState.PUBLISHED}
    assert [row.state.value for row in after.defers] == ["succeeded", "failed", "succeeded"]
    assert [row.reason for row in after.defers] == [None, "ValueError: no 1", None]
    assert [row.id for row in after.defers] == [run_id(parent.id, id) for id in "zam"]
    assert [(row.task, row.payload, row.attempts) for row in after.defers] == [
        ("ship", {"n": 1}, 1), ("fail", {"n": 1}, 1), ("ship", {"n": 1}, 1),
    ]  # fmt: skip
    assert before.run.state is RunState.SUCCEEDED


def test_the_times_of_a_call(app: Celery, sim: Simulation, ship: Any) -> None:
    later = ship.with_options(countdown=3_600)
    parent = sim.run(parent_of(app, one("a", later, n=1)))
    sim.advance(HOUR)

    row = only_call(parent.id)
    times = row.deferred_at, row.published_at, row.started_at, row.finished_at
    assert [_near(time) for time in times] == [START, START, START + HOUR, START + HOUR]
    assert row.starts_at is not None
    assert _near(row.starts_at) == START + HOUR
    assert row.latency == pytest.approx(0, abs=1)


def test_a_call_with_an_eta_says_when_it_starts(app: Celery, sim: Simulation, ship: Any) -> None:
    parent = sim.run(parent_of(app, one("a", ship.with_options(eta=START + HOUR), n=1)))

    assert only_call(parent.id).starts_at == START + HOUR


def _near(time: datetime | None) -> datetime:
    assert time is not None
    return (time + timedelta(milliseconds=500)).replace(microsecond=0)


def test_calls_that_are_refused_say_why_and_what(app: Celery, sim: Simulation, ship: Any) -> None:
    handles: list[DeferHandle] = []

    def body() -> None:
        defer("a", ship, n=1)
        defer("bad", ship, n="x")  # type: ignore[arg-type]
        defer("a", ship, n=7)
        handles.append(defer("gone", ship, n=9))
        handles[0].abort()

    parent = sim.run(parent_of(app, body))
    rows = record(parent.id).defers

    kept, bad, again, gone = (
        next(row for row in rows if (row.defer_id, row.state) == key)
        for key in [
            ("a", RunState.PUBLISHED), ("bad", RunState.SKIPPED),
            ("a", RunState.SKIPPED), ("gone", RunState.ABORTED),
        ]
    )  # fmt: skip
    assert kept.payload == {"n": 1}
    assert (bad.task, bad.refused) == ("ship", {"n": "x"})
    assert "payload of ship: n" in str(bad.reason)
    assert "used already" in str(again.reason)
    assert "7" in str(again.refused)
    assert gone.payload == {"n": 9}
    assert len(rows) == 4


def test_what_was_refused_is_known_of_a_parent_that_fails_too(
    app: Celery, sim: Simulation, ship: Any
) -> None:
    def body() -> None:
        defer("a", ship, n=1)
        defer("bad", ship, n="x")  # type: ignore[arg-type]
        defer("a", ship, n=7)
        raise ValueError("no")

    parent = sim.run(parent_of(app, body))
    assert parent.state == "FAILURE"

    found = record(parent.id)
    assert (found.run.state, found.run.reason) == (RunState.FAILED, "ValueError: no")
    assert [(row.defer_id, row.state.value) for row in found.defers] == [
        ("a", "dropped"), ("bad", "skipped"), ("a", "skipped"),
    ]  # fmt: skip
    assert all(row.refused for row in found.defers if row.state is RunState.SKIPPED)


def test_a_parent_that_is_retried_shows_the_calls_of_its_last_attempt(
    app: Celery, sim: Simulation, ship: Any
) -> None:
    def body() -> None:
        retries = current_task.request.retries
        defer(f"of-{retries}", ship, n=1)
        if retries < 2:
            raise current_task.retry(countdown=5)

    parent = sim.run(parent_of(app, body))
    sim.advance(60)

    assert states(record(parent.id).defers) == {"of-2": RunState.SUCCEEDED}


def test_attempts_are_counted_over_retries(app: Celery, sim: Simulation) -> None:
    @deferred
    @app.task(name="flaky", bind=True)
    def flaky(self: Any) -> None:
        if self.request.retries < 2:
            raise self.retry(countdown=5)

    parent = sim.run(parent_of(app, one("a", flaky)))
    sim.drain()
    first = only_call(parent.id)
    sim.advance(60)
    last = only_call(parent.id)

    assert (first.state, first.attempts) == (RunState.RUNNING, 1)
    assert (last.state, last.attempts) == (RunState.SUCCEEDED, 3)


def test_a_call_in_quarantine_says_why(app: Celery, sim: Simulation, ship: Any) -> None:
    ship.serializer = "none such"
    parent = sim.run(parent_of(app, one("a", ship, n=1)))

    row = only_call(parent.id)
    assert row.state is RunState.QUARANTINED
    assert "cannot be published: 'a' (ship): SerializerNotInstalled(" in str(row.reason)


def test_a_run_that_was_withdrawn_is_aborted(app: Celery, sim: Simulation, ship: Any) -> None:
    parent = sim.run(parent_of(app, one("a", ship, n=1)))
    assert abort(parent.id, "a")
    sim.drain()

    assert only_call(parent.id).state is RunState.ABORTED


# -- parents, siblings, trees -------------------------------------------------------------------


def test_the_parent_and_the_siblings_of_a_run(app: Celery, sim: Simulation, ship: Any) -> None:
    def body() -> None:
        for id in "abc":
            defer(id, ship, n=1)

    parent = sim.run(parent_of(app, body))
    found = record(run_id(parent.id, "b"))

    assert found.parent is not None
    assert (found.parent.id, found.parent.state) == (parent.id, RunState.SUCCEEDED)
    assert [row.defer_id for row in found.siblings] == ["a", "c"]
    assert found.run.root == parent.id


def test_a_tree_of_any_depth(app: Celery, sim: Simulation, ship: Any) -> None:
    @deferred
    @app.task(name="deeper")
    def deeper(n: int) -> None:
        defer("leaf", ship, n=n)
        if n:
            defer("down", deeper, n=n - 1)

    parent = sim.run(parent_of(app, one("top", deeper, n=3)))
    sim.drain()

    rows = [(depth, row.defer_id) for depth, row in tree(parent.id).rows()]
    assert rows == [
        (0, None), (1, "top"), (2, "leaf"), (2, "down"), (3, "leaf"), (3, "down"),
        (4, "leaf"), (4, "down"), (5, "leaf"),
    ]  # fmt: skip
    assert {row.root for _, row in tree(parent.id).rows()} == {parent.id}


def test_a_tree_says_what_its_runs_wait_for(app: Celery, sim: Simulation, ship: Any) -> None:
    @deferred
    @app.task(name="ask")
    def ask() -> None:
        step.wait_for_event("answer", "answered", timeout="7d")

    def body() -> None:
        defer("ask", ask)
        defer("ship", ship, n=1)

    parent = sim.run(parent_of(app, body))
    sim.drain()

    top, *below = (each for _, each in tree(parent.id).trees())
    assert [each.waits_for and each.waits_for.event for each in below] == ["answered", None]
    assert top.waits_for is None


def test_a_block_has_a_record(app: Celery, sim: Simulation, ship: Any) -> None:
    with deferring() as block:
        defer("a", ship, n=1)
        defer("bad", ship, n="x")  # type: ignore[arg-type]
    sim.drain()

    found = record(block.id)
    assert found.run.state is RunState.SUCCEEDED
    assert states(found.defers) == {"a": RunState.SUCCEEDED, "bad": RunState.SKIPPED}


def test_a_run_of_which_nothing_is_known(sim: Simulation) -> None:
    with pytest.raises(NoRecordError, match="nothing is known of run nobody"):
        record("nobody")


# -- steps ----------------------------------------------------------------------------------


def test_the_steps_of_a_run_with_what_they_have_taken(app: Celery, sim: Simulation) -> None:
    tries = iter([ValueError("once"), ValueError("twice"), 7])

    def charge() -> Any:
        outcome = next(tries)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def body() -> Any:
        step.run("look", lambda: "seen")
        step.run("charge", charge, retries=5)
        step.sleep("nap", HOUR)
        step.wait_for_event("reply", "replied", timeout="2h")
        step.wait_for_event("never", "nothing", timeout="2h")
        return 1

    run = sim.run(parent_of(app, body))
    sim.advance("90m")
    send_event("replied", {"ok": True})
    sim.advance("3h")
    assert run.result == 1

    rows = record(run.id).steps
    assert [(row.id, row.kind, row.state, row.tries) for row in rows] == [
        ("look", "run", "finished", 1), ("charge", "run", "finished", 3),
        ("nap", "sleep", "finished", 1), ("reply", "wait_for_event", "finished", 1),
        ("never", "wait_for_event", "finished", 1),
    ]  # fmt: skip
    took = {row.id: row.duration for row in rows}
    assert took["nap"] == pytest.approx(3_600, abs=1)
    assert 0 < took["reply"] < 1_801  # type: ignore[operator]
    assert took["never"] == pytest.approx(7_200, abs=1)
    assert rows[1].result == 7


def test_an_invoked_run_ends_its_step(app: Celery, sim: Simulation, ship: Any) -> None:
    later = ship.with_options(countdown=60)
    run = sim.run(parent_of(app, lambda: step.invoke("ship", later, n=4)))
    sim.advance(HOUR)
    assert run.result == 4

    found = record(run.id)
    [row] = found.steps
    assert (row.kind, row.state, row.result) == ("invoke", "finished", 4)
    assert row.duration == pytest.approx(60, abs=1)
    assert [(call.task, call.state) for call in found.defers] == [("ship", RunState.SUCCEEDED)]


def test_a_step_whose_tries_are_used_up(app: Celery, sim: Simulation) -> None:
    def charge() -> None:
        raise ValueError("no card")

    run = sim.run(parent_of(app, lambda: step.run("charge", charge, retries=1)))
    sim.advance("1d")
    assert run.state == "FAILURE"

    [row] = record(run.id).steps
    assert (row.state, row.tries) == ("failed", 2)
    assert "no card" in str(row.failure)


def test_what_a_parked_run_waits_for(app: Celery, sim: Simulation) -> None:
    def body() -> None:
        step.wait_for_event("reply", "replied", timeout="2h", match={"order.id": 7})

    run = sim.run(parent_of(app, body))
    found = record(run.id)
    wait = found.waits_for

    assert found.run.state is RunState.WAITING
    assert wait is not None
    assert (wait.step, wait.kind, wait.event, wait.match) == (
        "reply", "event", "replied", {"order.id": 7},
    )  # fmt: skip
    assert (_near(wait.since), _near(wait.until)) == (START, START + 2 * HOUR)
    assert [(row.id, row.state) for row in found.steps] == [("reply", "waiting")]

    sim.advance("3h")
    assert record(run.id).waits_for is None


def test_calls_of_a_run_that_waited_are_in_the_order_of_its_body(
    app: Celery, sim: Simulation, ship: Any
) -> None:
    def body() -> None:
        defer("first", ship, n=1)
        step.run("second", lambda: defer("second", ship, n=2).id)
        defer("third", ship, n=3)
        step.sleep("nap", 60)
        defer("fourth", ship, n=4)

    run = sim.run(parent_of(app, body))
    sim.advance(HOUR)

    rows = [row.defer_id for row in record(run.id).defers]
    assert rows == ["first", "second", "third", "fourth"]


def test_the_reason_of_a_failed_step_is_its_message_alone(app: Celery, sim: Simulation) -> None:
    def fails() -> None:
        raise NonRetriable("bank is away")

    parent = sim.run(parent_of(app, lambda: step.run("flaky", fails)))

    assert isinstance(parent.exception, StepError)
    assert record(parent.id).run.reason == (
        "StepError: step 'flaky' has failed: NonRetriable('bank is away')"
    )
