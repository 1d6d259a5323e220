"""Batches that cannot be published."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import Batch, DeferError, RunState, deferred, record, run_id
from celery_defer.outbox import drop_record, retry_record
from tests.support.batches import Ran, Visit, refuse, visits_of
from tests.support.inside import WatchedStore, Worker


def test_a_batch_that_cannot_be_published_waits_and_then_goes_into_quarantine(
    app: Celery,
    worker: Worker,
    write: Any,
    ran: Ran,
    store: WatchedStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parent = visits_of(app, worker, write, "1", "2")

    with monkeypatch.context() as patch:
        patch.setattr(app.amqp.router, "route", refuse)
        for _ in range(12):
            worker.later(60)
    [entry] = store.quarantined()
    call = app.AsyncResult(run_id(parent.id, "1"))

    assert "no route" in entry.reason
    assert (call.state, record(call.id).run.state) == ("FAILURE", RunState.QUARANTINED)
    with pytest.raises(DeferError, match="was never published"):
        call.get()

    retry_record(app._celery_defer, entry.id)
    worker.wake(1)

    assert ran == [["1", "2"]]
    assert app.AsyncResult(call.id).get() == {"batch": entry.id}


def test_a_batch_that_is_dropped_from_quarantine_fails_its_calls(
    app: Celery, worker: Worker, write: Any, store: WatchedStore
) -> None:
    parent = visits_of(app, worker, write, "1", "2")
    [batch] = store.take(worker.now + 10, worker.now + 20, 9)
    store.quarantine(batch.id, batch.token, "bad", 600)

    ids = drop_record(app._celery_defer, batch.id)

    assert ids == [run_id(parent.id, "1"), run_id(parent.id, "2")]
    assert app.AsyncResult(ids[0]).state == "FAILURE"
    assert record(ids[1]).run.state is RunState.FAILED


def test_a_call_whose_key_has_no_value_any_more_is_put_apart_from_the_others(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    ran, wrong = [], []

    def site_of(visit: Visit) -> str:
        if visit.page in wrong:
            raise ValueError("no site")
        return visit.site

    @deferred(app, name="write", schema=Visit, batch=Batch(3, "10s", key=site_of))
    def write(visits: list[Visit]) -> None:
        ran.append([visit.page for visit in visits])

    store.away.add("gather")
    parent = visits_of(app, worker, write, "1", "2")
    store.away.clear()
    wrong.append("1")  # by another release of the code
    worker.wake(60)
    worker.wake(60)

    assert ran == [["2"]]
    [entry] = store.quarantined()
    assert "no site" in entry.reason
    assert app.AsyncResult(run_id(parent.id, "1")).state == "FAILURE"


def test_a_worker_that_does_not_have_the_task_leaves_the_batch_to_others(
    app: Celery, worker: Worker, write: Any, ran: Ran
) -> None:
    visits_of(app, worker, write, "1", "2")
    task = app.tasks.pop("write")

    assert worker.later(10) == []
    app.tasks["write"] = task
    worker.wake(60)

    assert ran == [["1", "2"]]
