"""Calls that waited for another end of their parent: its record says so."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import abort, defer, run_id, step
from celery_defer.errors import OptionError
from celery_defer.store import RunState
from celery_defer.testing import Simulation
from celery_defer.views import record, runs, tree
from tests.support.inside import Worker, parent_of, ship_of
from tests.support.one_redis import app_on
from tests.support.redis import Server

FAILED = "its parent has failed, and it waited for its success"
SUCCEEDED = "its parent has succeeded, and it waited for its failure"


def body_of(ship: Any, *, fails: bool) -> Any:
    def body() -> None:
        defer("receipt", ship, n=1)
        defer("alert", ship.with_options(when="failure"), n=2)
        defer("log", ship.with_options(when="always"), n=3)
        if fails:
            raise ValueError("no")

    return body


def shown(id: str) -> list[tuple[str | None, str, str | None]]:
    return [(row.defer_id, row.state.value, row.reason) for row in record(id).defers]


@pytest.mark.parametrize("fails", [False, True])
def test_a_call_that_waited_for_another_end_is_dropped(
    app: Celery, sim: Simulation, ship: Any, fails: bool
) -> None:
    parent = sim.run(parent_of(app, body_of(ship, fails=fails)))
    sim.drain()

    assert parent.state == ("FAILURE" if fails else "SUCCESS")
    assert shown(parent.id) == [
        ("receipt", "dropped", FAILED) if fails else ("receipt", "succeeded", None),
        ("alert", "succeeded", None) if fails else ("alert", "dropped", SUCCEEDED),
        ("log", "succeeded", None),
    ]
    (row,) = [row for row in record(parent.id).defers if row.state is RunState.DROPPED]
    assert row.task == "ship"
    assert row.deferred_at is not None
    assert len(tree(parent.id).children) == 3


def test_a_dropped_call_has_its_tags(app: Celery, sim: Simulation, ship: Any) -> None:
    alert = ship.with_options(when="failure", tags={"order": "7"})
    parent = sim.run(parent_of(app, lambda: defer("alert", alert, n=1) and None))

    (row,) = runs(state="dropped", parent=parent.id, tag=("order", "7")).rows
    assert (row.defer_id, row.tags) == ("alert", {"order": "7"})


def test_what_is_dropped_is_in_no_list_but_that_of_its_parent(
    app: Celery, sim: Simulation, ship: Any
) -> None:
    parent = sim.run(parent_of(app, body_of(ship, fails=False)))

    assert {row.defer_id for row in runs(task="ship").rows} == {"receipt", "log"}
    (row,) = runs(state="dropped", parent=parent.id).rows
    assert row.defer_id == "alert"
    with pytest.raises(OptionError, match="only the record of their parent has them"):
        runs(state="dropped")


def test_a_call_whose_id_was_used_before_is_listed_with_its_parent_only(
    app: Celery, sim: Simulation, ship: Any
) -> None:
    def body() -> None:
        defer("receipt", ship, n=1)
        defer("receipt", ship, n=2)

    parent = sim.run(parent_of(app, body))

    (row,) = runs(state="skipped", parent=parent.id).rows
    assert row.refused == {"n": 2}
    assert runs(state="skipped").rows == []


def test_a_dropped_call_stays_dropped_when_somebody_revokes_its_id(
    app: Celery, sim: Simulation, ship: Any
) -> None:
    parent = sim.run(parent_of(app, body_of(ship, fails=True)))
    assert parent.state == "FAILURE"
    id = run_id(parent.id, "receipt")

    app.backend.mark_as_revoked(id, "revoked")  # as a worker does that does not have the run

    assert shown(parent.id)[0] == ("receipt", "dropped", FAILED)


def test_a_dropped_call_cannot_be_withdrawn(app: Celery, sim: Simulation, ship: Any) -> None:
    parent = sim.run(parent_of(app, body_of(ship, fails=True)))
    assert parent.state == "FAILURE"

    assert not abort(parent.id, "receipt")
    assert shown(parent.id)[0] == ("receipt", "dropped", FAILED)


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
@pytest.mark.parametrize("fails", [False, True])
def test_calls_without_a_run_are_in_order_and_made_after_their_parent_began(
    server: Server, fails: bool
) -> None:
    app = app_on(server)
    ship = ship_of(app)

    def body() -> None:
        defer("first", ship, n=1)
        defer("second", ship, n=2)
        defer("first", ship, n=3)
        defer("alert", ship.with_options(when="failure"), n=4)
        step.run("third", lambda: defer("third", ship, n=5).id)
        defer("second", ship, n=6)
        if fails:
            raise ValueError("no")

    worker = Worker(app)
    # A worker whose clock is behind that of the store.
    worker.now -= 60
    parent = worker.perform(parent_of(app, body))

    found = record(parent.id)
    assert [(row.defer_id, row.refused and row.refused["n"]) for row in found.defers] == [
        ("first", None), ("second", None), ("first", 3), ("alert", None),
        ("third", None), ("second", 6),
    ]  # fmt: skip
    started = found.run.started_at
    assert started is not None
    assert all(row.deferred_at and row.deferred_at >= started for row in _without_run(found.defers))


def _without_run(rows: Any) -> list[Any]:
    return [row for row in rows if row.state in (RunState.SKIPPED, RunState.DROPPED)]


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
@pytest.mark.parametrize("fails", [False, True])
def test_it_is_known_where_one_redis_has_all(server: Server, fails: bool) -> None:
    app = app_on(server)
    ship = ship_of(app)
    parent = Worker(app).perform(parent_of(app, body_of(ship, fails=fails)))

    assert [(id, reason) for id, state, reason in shown(parent.id) if state == "dropped"] == [
        ("receipt", FAILED) if fails else ("alert", SUCCEEDED)
    ]


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_a_failed_run_is_listed_with_what_it_did_not_defer(server: Server) -> None:
    app = app_on(server)
    ship = ship_of(app)

    def body() -> None:
        for n in range(200):
            defer(f"receipt-{n}", ship, n=n)
        raise ValueError("no")

    parent = Worker(app).perform(parent_of(app, body))

    assert [row.id for row in runs(state="failed").rows] == [parent.id]
    rows = record(parent.id).defers
    assert [row.defer_id for row in rows] == [f"receipt-{n}" for n in range(100)]
    assert {row.reason for row in rows} == {FAILED}
