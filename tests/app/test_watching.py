"""What a run that may end early asks of its store, and how its end is told."""

from __future__ import annotations

import pytest
from celery import Celery
from celery.exceptions import TaskRevokedError

from celery_defer import CancelOn, Event, Timeouts, deferred, restart, send_event, step
from celery_defer.views import record
from tests.support.guarded import STOP, message_of, ship_of
from tests.support.inside import WatchedStore, Worker


@pytest.fixture(autouse=True)
def _one_clock(worker: Worker, store: WatchedStore) -> None:
    store._store.clock = lambda: worker.now


def test_a_function_without_these_options_asks_for_nothing_more(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    message = message_of(app, worker, ship_of(app))
    store.asked.clear()

    worker.trace(message)

    assert not {"watch", "unwatch"} & set(store.asked)


def test_a_run_that_may_end_early_asks_once_more_as_it_arrives(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    message = message_of(app, worker, ship_of(app))
    store.asked.clear()
    worker.trace(message)
    without = list(store.asked)
    ends = {"cancel_on": [CancelOn("stop")], "timeouts": Timeouts("1h", "1h")}
    message = message_of(app, worker, ship_of(app, name="watched", **ends))
    store.asked.clear()

    worker.trace(message)

    assert store.asked == [*without[:1], "watch", *without[1:], "unwatch"]


def test_a_run_that_goes_on_after_a_wait_asks_for_nothing_more(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    ship = ship_of(app, nap=60, cancel_on=[CancelOn("stop")], timeouts=Timeouts(finish="1h"))
    worker.trace(message_of(app, worker, ship))
    (message,) = worker.later(60)
    store.asked.clear()

    worker.trace(message)

    assert store.asked.count("watch") == 0
    assert store.asked.count("unwatch") == 1
    assert send_event("stop").cancelled == 0


def test_the_first_run_that_compares_a_value_looks_for_earlier_events(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    ship = ship_of(app, cancel_on=[STOP])
    message, other = (
        message_of(app, worker, ship),
        message_of(app, worker, ship, order_id=8),
    )
    send_event("stop", {"order_id": 7})

    worker.trace(message)
    worker.trace(other)

    states = [app.AsyncResult(each.headers["id"]).state for each in (message, other)]
    assert states == ["REVOKED", "SUCCESS"]
    assert store.asked.count("past") >= 1


def test_a_delivery_that_comes_again_does_not_start_a_run_that_has_ended_early(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    ship = ship_of(app, timeouts=Timeouts(start=60))
    message = message_of(app, worker, ship)
    worker.later(61)

    first, again = worker.trace(message), worker.trace(message)

    assert [traced.info.state for traced in (first, again)] == ["IGNORED", "IGNORED"]
    assert app.AsyncResult(message.headers["id"]).state == "REVOKED"


def test_its_result_and_its_record_say_why_a_run_has_ended(app: Celery, worker: Worker) -> None:
    late = message_of(app, worker, ship_of(app, timeouts=Timeouts(start=60)))
    worker.later(61)
    worker.trace(late)
    parked = message_of(
        app,
        worker,
        ship_of(app, name="parks", nap=600, timeouts=Timeouts(finish="90s")),
        order_id=7,
    )
    worker.trace(parked)
    worker.later(90)
    stopped = message_of(
        app, worker, ship_of(app, name="stops", nap=600, cancel_on=[STOP]), order_id=7
    )
    worker.trace(stopped)
    send_event("stop", {"order_id": 7})
    worker.later(0)

    reasons = [
        "not started within 1m", "not finished within 1m30s", "cancelled by event 'stop'"
    ]  # fmt: skip
    for message, reason in zip((late, parked, stopped), reasons, strict=True):
        run = message.headers["id"]
        with pytest.raises(TaskRevokedError, match=reason):
            app.AsyncResult(run).get()
        shown = record(run, app=app)
        assert (shown.run.state.value, shown.run.reason) == ("aborted", reason)


def test_the_record_of_a_run_that_never_began_has_no_start(app: Celery, worker: Worker) -> None:
    message = message_of(app, worker, ship_of(app, timeouts=Timeouts(start=60)))
    worker.later(61)
    worker.trace(message)

    assert record(message.headers["id"], app=app).run.started_at is None


def test_a_run_that_invoked_one_that_ends_early_hears_of_it(app: Celery, worker: Worker) -> None:
    ship = ship_of(app, timeouts=Timeouts(start=60))

    @app.task
    def order() -> str:
        try:
            return str(step.invoke("ship", ship, order_id=7))
        except Exception as error:
            return str(error)

    result = worker.run(order)
    (message,) = worker.published()
    worker.later(61)
    worker.trace(message)
    worker.drain()

    assert "not started within 1m" in result.get()


def test_a_run_does_not_start_without_a_store_and_comes_again(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    message = message_of(
        app, worker, ship_of(app, acks_late=True, timeouts=Timeouts(start=60)), order_id=7
    )
    worker.now += 61
    store.away = {"watch"}
    worker.trace(message)
    state = app.AsyncResult(message.headers["id"]).state
    store.away = set()

    (again,) = worker.published()
    worker.trace(again)

    assert (state, app.AsyncResult(message.headers["id"]).state) == ("RETRY", "REVOKED")


def test_an_event_whose_values_are_not_in_the_payload_is_told_of_and_cancels_nobody(
    app: Celery, worker: Worker, caplog: pytest.LogCaptureFixture,
    store: WatchedStore,
) -> None:  # fmt: skip
    @deferred(app, cancel_on=[CancelOn("stop", {"customer": "address.customer"})])
    def ship(address: dict[str, int]) -> str:
        return "done"

    message = message_of(app, worker, ship, address={"customer": 7})
    args, _, embed = message.payload
    message._decoded_cache = (args, {"address": {}}, embed)

    worker.trace(message)

    assert app.AsyncResult(message.headers["id"]).state == "SUCCESS"
    assert "an event does not cancel it" in caplog.text
    assert store.asked.count("watch") == 1


def test_a_typed_event_cancels_by_its_own_types(app: Celery, worker: Worker) -> None:
    stopped = Event("stopped", dict[str, str])

    @deferred(app, name="ship", cancel_on=[CancelOn(stopped, {"order": "order_id"})])
    def ship(order_id: str) -> None:
        step.sleep("nap", 600)

    message = message_of(app, worker, ship, order_id="o-7")
    worker.trace(message)

    assert send_event(stopped, {"order": "o-7"}).cancelled == 1


def test_a_run_that_is_restarted_is_watched_anew(app: Celery, worker: Worker) -> None:
    ends = {"cancel_on": [CancelOn("stop")], "timeouts": Timeouts(start="1m", finish="1h")}
    message = message_of(app, worker, ship_of(app, nap=600, **ends))
    run = message.headers["id"]
    worker.trace(message)
    send_event("stop")
    worker.later(120)
    before = app.AsyncResult(run).state

    restart(run, app=app)
    worker.wake(0)
    parked = app.AsyncResult(run).state
    again = send_event("stop")
    worker.later(0)

    assert (before, parked, again.cancelled) == ("REVOKED", "WAITING", 1)
    assert app.AsyncResult(run).state == "REVOKED"
