"""What a person decides about a record in quarantine."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import defer, deferred, step
from celery_defer.app import drop_quarantined, retry, retry_quarantined
from celery_defer.errors import DeferError, RecordError
from celery_defer.ids import RunId, run_id
from celery_defer.outbox import ParkedRun, begin_again, pack, record_history, unpack
from celery_defer.outbox.end import end_lost
from celery_defer.outbox.records import FanOut
from celery_defer.store import RunState, SentEvent
from tests.support.inside import WatchedStore, Worker

KEEP = 600.0


@pytest.fixture
def parent(app: Celery, receipt: Any) -> Any:
    @app.task(name="parent")
    def parent() -> None:
        defer("one", receipt, order_id=1)
        defer("two", receipt, order_id=2)

    return parent


@pytest.fixture
def put_aside(worker: Worker, store: WatchedStore, parent: Any) -> str:
    """A parent whose calls are in quarantine; its id."""
    store.away = {"settle"}
    result = worker.run(parent)
    worker.published()  # and lost
    store.away = set()
    [lease] = store.take(worker.now + 99, worker.now + 199, 10)
    facts = record_history.quarantined(worker.app._celery_defer.settings, lease)
    store.quarantine(lease.id, lease.token, "cannot be published", KEEP, facts=facts)
    return str(result.id)


def test_a_record_is_tried_again(
    worker: Worker, store: WatchedStore, put_aside: str, ran: list[int]
) -> None:
    retry_quarantined(put_aside)
    worker.wake(0)

    assert ran == [1, 2]
    assert store.quarantined() == []
    assert store.waiting() == 0


def test_the_records_of_the_runs_say_what_became_of_them(
    worker: Worker, store: WatchedStore, put_aside: str
) -> None:
    assert _states(store, put_aside) == [RunState.QUARANTINED] * 2

    retry_quarantined(put_aside)
    assert _states(store, put_aside) == [RunState.BUFFERED] * 2
    worker.later(0)
    assert _states(store, put_aside) == [RunState.PUBLISHED] * 2


def test_the_records_of_dropped_runs_say_so(
    app: Celery, store: WatchedStore, put_aside: str
) -> None:
    app.backend.store_result(run_id(put_aside, "one"), 1, "SUCCESS")

    drop_quarantined(put_aside)

    assert _states(store, put_aside) == [RunState.QUARANTINED, RunState.FAILED]


def test_what_is_refused_is_tried_again_after_its_parents_result_has_expired(
    app: Celery, worker: Worker, store: WatchedStore, parent: Any, receipt: Any, ran: list[int]
) -> None:
    def route(name: str, *_: Any, **__: Any) -> None:
        if name == receipt.name and is_broken:
            raise ValueError("no route")

    is_broken = True
    app.conf.task_routes = (route,)
    result = worker.run(parent)
    assert len(store.quarantined()) == 1
    app.backend.forget(result.id)
    is_broken = False

    retry_quarantined(result.id)
    worker.wake(0)

    assert ran == [1, 2]


def test_a_run_that_has_started_is_not_published_again(
    app: Celery, worker: Worker, put_aside: str, ran: list[int]
) -> None:
    app.backend.store_result(run_id(put_aside, "one"), 1, "SUCCESS")

    retry_quarantined(put_aside)
    worker.wake(0)

    assert ran == [2]


def test_a_run_that_failed_because_it_was_never_published_is_published(
    app: Celery, worker: Worker, put_aside: str, ran: list[int]
) -> None:
    for name, error in (("one", DeferError("run … was never published")), ("two", ValueError())):
        app.backend.mark_as_failure(run_id(put_aside, name), error)

    retry_quarantined(put_aside)
    worker.wake(0)

    assert ran == [1]


def test_a_record_whose_runs_have_started_is_to_be_dropped(
    app: Celery, store: WatchedStore, put_aside: str
) -> None:
    for name in ("one", "two"):
        app.backend.store_result(run_id(put_aside, name), 1, "SUCCESS")

    with pytest.raises(RecordError, match="all its runs have started: drop it"):
        retry_quarantined(put_aside)
    assert len(store.quarantined()) == 1


def test_a_newer_record_of_the_run_stays(store: WatchedStore, put_aside: str) -> None:
    store.stage(RunId(put_aside), "newer", b"body", 1, KEEP)

    with pytest.raises(RecordError, match="the outbox has a newer record"):
        retry_quarantined(put_aside)
    assert len(store.quarantined()) == 1


def test_a_record_that_cannot_be_read_is_not_tried_again(store: WatchedStore) -> None:
    _quarantine(store, "run", b"?")

    with pytest.raises(RecordError, match="the record cannot be read"):
        retry_quarantined("run")
    assert len(store.quarantined()) == 1


def test_an_event_is_sent_on(store: WatchedStore) -> None:
    event = SentEvent("id", "event", 1.0, b'{"result":"{\\"data\\":1}"}')
    _quarantine(store, "event:id", pack(FanOut(event)))

    retry_quarantined("event:id")

    assert store.waiting() == 1


@pytest.mark.parametrize("decide", [retry_quarantined, drop_quarantined])
@pytest.mark.usefixtures("store")
def test_what_is_not_in_quarantine_is_refused(decide: Any) -> None:
    with pytest.raises(RecordError, match="no record 'unknown' is in quarantine"):
        decide("unknown")


def test_the_runs_of_a_dropped_record_have_failed(
    app: Celery, worker: Worker, store: WatchedStore, put_aside: str
) -> None:
    one, two = run_id(put_aside, "one"), run_id(put_aside, "two")
    app.backend.store_result(one, 1, "SUCCESS")

    assert drop_quarantined(put_aside) == [two]

    assert (app.AsyncResult(one).state, app.AsyncResult(two).state) == ("SUCCESS", "FAILURE")
    assert "was dropped from quarantine" in str(app.AsyncResult(two).result)
    assert store.quarantined() == []
    assert worker.later(99) == []


def test_a_record_that_cannot_be_read_can_be_dropped(store: WatchedStore) -> None:
    _quarantine(store, "run", b"?")

    assert drop_quarantined("run") == []
    assert store.quarantined() == []


def test_a_parked_run_goes_on_where_it_waited(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    calls = []

    @app.task
    def sleeper() -> str:
        step.run("first", calls.append, 1)
        step.sleep("nap", 60)
        return "awake"

    result = worker.run(sleeper)
    [lease] = store.take(worker.now + 60, worker.now + 90, 10)
    assert end_lost(app, store, lease, "its message cannot be made", KEEP)
    assert app.AsyncResult(result.id).state == "FAILURE"

    retry_quarantined(result.id)
    assert app.AsyncResult(result.id).state == "WAITING"
    worker.wake(0)

    assert app.AsyncResult(result.id).get() == "awake"
    assert calls == [1]
    assert store.quarantined() == []


@pytest.mark.usefixtures("store")
def test_a_run_that_goes_on_is_in_no_chord(app: Celery, worker: Worker) -> None:
    @app.task(name="member")
    def member() -> None: ...

    options = {"chord": {"task": "member"}, "group_id": "group", "priority": 3}
    begin_again(app._celery_defer, ParkedRun(RunId("run"), "member", 0, options=options), 0)

    [message] = worker.later(0)
    assert message.headers["group"] is None
    assert message.payload[2]["chord"] is None
    assert message.properties["priority"] == 3


def test_the_call_of_an_invoked_run_is_not_tried_again(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    @deferred(app)
    def child() -> None: ...

    @app.task
    def parent() -> None:
        step.invoke("ask", child)

    result = worker.run(parent)
    [call] = [record for record in _records(store) if hasattr(record, "calls")]
    id = run_id(result.id, call.calls[0].id)
    store.quarantine(id, _token(store, id), "cannot be published", KEEP)

    with pytest.raises(RecordError, match="restart that run, and drop this"):
        retry_quarantined(id)


def test_a_record_of_the_outbox_is_looked_at_now(
    worker: Worker, store: WatchedStore, parent: Any, ran: list[int]
) -> None:
    store.away = {"settle"}
    result = worker.run(parent)
    worker.published()  # and lost
    store.away = set()
    assert worker.later(0) == []

    assert retry(result.id) is True
    worker.wake(0)

    assert ran == [1, 2]
    assert retry(result.id) is False


@pytest.mark.usefixtures("store")
def test_a_run_that_waits_is_not_looked_at_but_woken(app: Celery, worker: Worker) -> None:
    @app.task
    def sleeper() -> None:
        step.sleep("nap", 60)

    result = worker.run(sleeper)

    with pytest.raises(RecordError, match="to end its wait, wake it"):
        retry(result.id)


def _quarantine(store: WatchedStore, id: str, body: bytes) -> None:
    store.stage(RunId(id), "token", body, 1, KEEP)
    store.quarantine(RunId(id), "token", "bad", KEEP)


def _token(store: WatchedStore, id: str) -> str:
    return str(store._store._outbox[RunId(id)].token)


def _states(store: WatchedStore, parent: str) -> list[RunState]:
    histories = store.histories([run_id(parent, name) for name in ("one", "two")])
    return [history.state for history in histories]


def _records(store: WatchedStore) -> list[Any]:
    return [unpack(id, record.body) for id, record in store._store._outbox.items()]
