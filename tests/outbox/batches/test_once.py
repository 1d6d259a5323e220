"""A call is in one batch, whatever fails, and a batch runs once."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import Batch, deferred
from celery_defer.model import Outcome
from celery_defer.outbox import deliver
from tests.support.batches import Ran, Visit, record_of, refuse, visits_of
from tests.support.inside import WatchedStore, Worker


def test_a_record_that_is_delivered_again_adds_nothing(
    app: Celery, worker: Worker, write: Any, ran: Ran, store: WatchedStore
) -> None:
    store.away.add("settle")  # as if the worker had been killed after it had gathered
    visits_of(app, worker, write, "1", "2")
    store.away.clear()

    worker.wake(60)
    worker.wake(60)

    assert ran == [["1", "2"]]
    assert store.records() == []


def test_a_batch_that_is_published_twice_runs_once(
    app: Celery, worker: Worker, write: Any, ran: Ran, store: WatchedStore
) -> None:
    visits_of(app, worker, write, "1", "2")
    store.away.add("settle")
    first = worker.later(10)
    store.away.clear()
    second = worker.later(60)

    for message in [*first, *second]:
        worker.trace(message)

    assert len(first) == len(second) == 1
    assert ran == [["1", "2"]]


def test_a_full_batch_that_did_not_get_to_the_broker_is_published_by_a_relay(
    app: Celery, worker: Worker, write: Any, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(app.amqp.router, "route", refuse)
        deliver(app, record_of(worker, write, "1", "2", "3"), Outcome.SUCCESS, "token")

    assert worker.later(9) == []
    worker.wake(1)

    assert ran == [["1", "2", "3"]]


def test_calls_wait_in_their_record_while_the_store_is_away(
    app: Celery, worker: Worker, write: Any, ran: Ran, store: WatchedStore
) -> None:
    store.away.add("gather")
    visits_of(app, worker, write, "1", "2", "3")
    assert worker.drain() == []
    store.away.clear()

    worker.wake(60)

    assert ran == [["1", "2", "3"]]


def test_calls_that_could_not_be_staged_leave_as_batches_of_one(
    app: Celery, worker: Worker, write: Any, ran: Ran, store: WatchedStore
) -> None:
    store.away |= {"stage", "gather"}
    visits_of(app, worker, write, "1", "2")
    store.away.clear()

    worker.drain()

    assert sorted(ran) == [["1"], ["2"]]


def test_a_call_that_left_alone_is_not_gathered_too(
    app: Celery, worker: Worker, write: Any, ran: Ran, store: WatchedStore
) -> None:
    store.away |= {"gather"}
    kept = record_of(worker, write, "1", "2", "3")
    deliver(app, kept, Outcome.SUCCESS, "token")
    worker.drain()
    store.away.clear()

    deliver(app, kept, Outcome.SUCCESS, "token.1")
    worker.wake(60)

    assert sorted(ran) == [["1"], ["2"], ["3"]]


def test_without_a_store_each_call_is_a_batch_of_one(app: Celery, worker: Worker) -> None:
    app._celery_defer.store = None
    ran = []

    @deferred(app, name="write", schema=Visit, batch=Batch(3, "10s"))
    def write(visits: list[Visit]) -> None:
        ran.append([visit.page for visit in visits])

    visits_of(app, worker, write, "1", "2")
    worker.drain()

    assert ran == [["1"], ["2"]]
