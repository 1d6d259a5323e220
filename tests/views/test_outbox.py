"""The rows of the outbox and of the quarantine."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from celery import Celery

from celery_defer import StoreError, defer, step
from celery_defer.ids import RunId
from celery_defer.outbox import pack
from celery_defer.outbox.records import FanOut
from celery_defer.store import SentEvent
from celery_defer.views import outbox, quarantine
from tests.support.inside import WatchedStore, Worker

KEEP = 600.0


@pytest.fixture
def parent(app: Celery, ship: Any) -> Any:
    @app.task(name="parent")
    def parent() -> None:
        defer("one", ship, n=1)
        defer("two", ship, n=2)

    return parent


def test_the_records_of_the_outbox(
    app: Celery, worker: Worker, store: WatchedStore, parent: Any
) -> None:
    @app.task(name="sleeper")
    def sleeper() -> None:
        step.sleep("nap", 60)

    store.away = {"settle"}
    calls = worker.run(parent).id
    store.away = set()
    sleep = worker.run(sleeper).id
    event = SentEvent("id", "order/paid", 1.0, b"{}")
    store.stage(RunId("event:id"), "token", pack(FanOut(event)), worker.now, KEEP)
    store.stage(RunId("bad"), "token", b"?", worker.now + 99, KEEP)

    rows = outbox().rows

    assert [(row.id, row.kind, row.task, row.calls) for row in rows] == [
        ("event:id", "event", "order/paid", ()),
        (calls, "calls", "parent", ("one", "two")),
        (sleep, "parked run", "sleeper", ()),
        ("bad", "unknown", "", ()),
    ]
    assert rows[2].due == datetime.fromtimestamp(worker.now + 60, timezone.utc)
    assert [row.id for row in outbox(limit=1).rows] == ["event:id"]


def test_the_records_in_quarantine(worker: Worker, store: WatchedStore, parent: Any) -> None:
    store.away = {"settle"}
    id = worker.run(parent).id
    store.away = set()
    store.quarantine(RunId(id), store._store._outbox[RunId(id)].token, "no queue", KEEP)

    [row] = quarantine().rows

    assert (row.id, row.kind, row.task) == (id, "calls", "parent")
    assert (row.reason, row.calls) == ("no queue", ("one", "two"))


@pytest.mark.parametrize("read", [outbox, quarantine])
def test_an_app_without_a_store_has_no_rows(app: Celery, read: Any) -> None:
    with pytest.raises(StoreError):
        read(app=app)
