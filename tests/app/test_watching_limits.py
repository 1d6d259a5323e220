"""What may end a run early beside the limits of its function."""

from __future__ import annotations

import pytest
from celery import Celery

from celery_defer import CancelOn, Debounce, Singleton, Throttle, Timeouts, send_event
from celery_defer.views import record
from tests.support.guarded import STOP, message_of, ship_of
from tests.support.inside import WatchedStore, Worker


@pytest.fixture(autouse=True)
def _one_clock(worker: Worker, store: WatchedStore) -> None:
    store._store.clock = lambda: worker.now


def test_a_singleton_says_which_run_has_cancelled_the_earlier_one(
    app: Celery, worker: Worker
) -> None:
    ship = ship_of(app, nap=600, singleton=Singleton(key="order_id", mode="cancel"))
    earlier, later = (message_of(app, worker, ship) for _ in range(2))
    worker.trace(earlier)
    worker.trace(later)

    shown = record(earlier.headers["id"], app=app).run
    assert (shown.state.value, shown.reason) == (
        "aborted",
        f"cancelled by run {later.headers['id']}",
    )
    assert app.AsyncResult(later.headers["id"]).state == "WAITING"


def test_what_ends_a_run_ends_one_that_a_limit_holds_back(app: Celery, worker: Worker) -> None:
    ends = {"cancel_on": [STOP], "timeouts": Timeouts(start="10m")}
    ship = ship_of(app, nap=60, throttle=Throttle(1, "1h"), **ends)
    first, stopped, late = (message_of(app, worker, ship, order_id=number) for number in (1, 2, 3))
    for message in (first, stopped, late):
        worker.trace(message)
    runs = [message.headers["id"] for message in (first, stopped, late)]
    before = [app.AsyncResult(run).state for run in runs]

    cancelled = send_event("stop", {"order_id": 2}).cancelled
    worker.wake(60)
    worker.wake(540)

    assert (before, cancelled) == (["WAITING", "HELD", "HELD"], 1)
    assert [app.AsyncResult(run).state for run in runs] == ["SUCCESS", "REVOKED", "REVOKED"]
    assert record(runs[2], app=app).run.reason == "not started within 10m"


def test_a_run_that_another_one_replaces_is_watched_no_more(app: Celery, worker: Worker) -> None:
    ends = {"cancel_on": [STOP], "timeouts": Timeouts(start="1h")}
    ship = ship_of(app, debounce=Debounce("1m", key="order_id"), **ends)
    first, second = (message_of(app, worker, ship) for _ in range(2))
    for message in (first, second):
        worker.trace(message)

    assert send_event("stop", {"order_id": 7}).cancelled == 1
    worker.later(0)
    assert record(first.headers["id"], app=app).run.state.value == "replaced"
    assert record(second.headers["id"], app=app).run.state.value == "aborted"


def test_the_time_to_finish_counts_from_when_a_held_run_was_let_go(
    app: Celery, worker: Worker
) -> None:
    ends = {"timeouts": Timeouts(start="2h", finish="90m")}
    ship = ship_of(app, nap=7_200, throttle=Throttle(1, "1h"), **ends)
    first, second = (message_of(app, worker, ship, order_id=number) for number in (1, 2))
    worker.trace(first)
    worker.trace(second)

    worker.wake(3_601)
    started = app.AsyncResult(second.headers["id"]).state
    worker.wake(5_399)
    in_time = app.AsyncResult(second.headers["id"]).state
    worker.wake(1)

    assert (started, in_time) == ("WAITING", "WAITING")
    assert record(second.headers["id"], app=app).run.reason == "not finished within 1h30m"


def test_what_is_sent_by_delay_ends_early_where_limits_are_for_all(
    app: Celery, worker: Worker
) -> None:
    ends = {"cancel_on": [CancelOn("stop")], "timeouts": Timeouts(start=60)}
    mine = ship_of(app, name="mine", nap=600, limits="all", **ends)
    plain = ship_of(app, name="plain", nap=600, **ends)
    runs = [worker.run(task, 7) for task in (mine, plain)]

    cancelled = send_event("stop").cancelled
    worker.wake(600)

    assert cancelled == 1
    assert [app.AsyncResult(run.id).state for run in runs] == ["REVOKED", "SUCCESS"]
    assert [record(run.id, app=app).run.state.value for run in runs] == ["aborted", "succeeded"]
