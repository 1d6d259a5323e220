"""Rule 3.8: a call is withdrawn by its handle, before and after it is published."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import DeferHandle, StoreError, abort, defer, deferred, run_id
from tests.support.inside import WatchedStore, Worker


@pytest.fixture
def ship(app: Celery, ran: list[int]) -> Any:
    @deferred
    @app.task(name="ship", shared=False)
    def ship(n: int) -> None:
        ran.append(n)

    return ship


@pytest.mark.parametrize("has_store", [True, False])
def test_before_publication_nothing_is_published(
    app: Celery, worker: Worker, ship: Any, has_store: bool
) -> None:
    app._celery_defer.store = WatchedStore() if has_store else None

    @app.task
    def parent() -> None:
        handle = defer("ship", ship, 1)
        handle.abort()
        handle.abort()

    result = worker.run(parent)

    assert worker.published() == []
    assert app.AsyncResult(run_id(result.id, "ship")).state == "ABORTED"


def test_a_call_that_was_published_at_once_does_not_start(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any, ran: list[int], caplog: Any
) -> None:
    @app.task
    def parent() -> str:
        handle = defer("ship", ship.with_options(when="now"), 1)
        handle.abort()
        handle.abort()
        return handle.id

    result = worker.run(parent)
    worker.drain()

    assert ran == []
    assert app.AsyncResult(result.get()).state == "ABORTED"
    assert "too late to abort" not in caplog.text


def test_after_the_body_it_is_withdrawn_too(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any, ran: list[int]
) -> None:
    handles: list[Any] = []

    @app.task
    def parent() -> None:
        handles.append(defer("ship", ship, 1))

    worker.run(parent)
    handles[0].abort()
    worker.drain()

    assert ran == []


def test_once_the_run_has_started_a_warning_says_that_it_is_too_late(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any, ran: list[int], caplog: Any
) -> None:
    handles: list[Any] = []

    @app.task
    def parent() -> None:
        handles.append(defer("ship", ship, 1))

    result = worker.run(parent)
    worker.drain()
    handles[0].abort()

    assert ran == [1]
    assert f"defer 'ship' of run {result.id} has been published: too late to abort" in caplog.text


def test_without_a_store_a_published_call_cannot_be_withdrawn(
    app: Celery, worker: Worker, ship: Any, ran: list[int], caplog: Any
) -> None:
    @app.task
    def parent() -> str:
        defer("ship", ship.with_options(when="now"), 1).abort()
        return "done"

    assert worker.run(parent).get() == "done"
    worker.drain()

    assert ran == [1]
    assert "too late to abort" in caplog.text


def test_a_store_that_is_away_does_not_fail_the_parent_that_aborts(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any, caplog: Any
) -> None:
    store.away = {"claim"}

    @app.task
    def parent() -> str:
        defer("ship", ship.with_options(when="now"), 1).abort()
        return "done"

    result = worker.run(parent)

    assert (result.state, result.result) == ("SUCCESS", "done")
    assert f"defer 'ship' of run {result.id}" in caplog.text


def test_an_aborted_call_is_neither_staged_nor_deferred_again(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any
) -> None:
    skipped: list[str | None] = []

    @app.task
    def parent() -> None:
        defer("ship", ship, 1).abort()
        skipped.append(defer("ship", ship, 2).skipped)
        defer("other", ship, 3)

    store.away = {"settle"}
    worker.run(parent)

    assert skipped == ["defer id 'ship' was aborted in this run, which is final"]
    assert [call.id for call in store.records()[0].calls] == ["other"]


def test_abort_needs_a_store(app: Celery) -> None:
    with pytest.raises(StoreError, match="set defer_store_url"):
        abort("parent", "ship")


def test_abort_needs_an_app_with_defer() -> None:
    Celery("plain", broker="memory://", set_as_current=True)

    with pytest.raises(StoreError, match=r"the current Celery app has no Defer\(app\)"):
        abort("parent", "ship")


def test_3_8_an_aborted_call_is_not_published(
    run: Any, receipt: Any, worker: Worker, app: Celery
) -> None:
    def parent() -> Any:
        handle = defer("receipt", receipt, order_id=7)
        handle.abort()
        handle.abort()
        return [str(handle.id), handle.skipped, defer("receipt", receipt, order_id=8).skipped]

    id, skipped, again = run(parent).get()

    assert worker.published() == []
    assert app.AsyncResult(id).state == "ABORTED"
    assert skipped is None
    assert "aborted in this run, which is final" in again


def test_3_8_abort_on_a_skipped_call_leaves_the_first_one_alone(
    run: Any, receipt: Any, worker: Worker, ran: Any
) -> None:
    def parent() -> None:
        defer("receipt", receipt, order_id=7)
        defer("receipt", receipt, order_id=8).abort()

    run(parent)
    worker.drain()

    assert ran == [7]


def test_3_8_abort_after_the_body_comes_too_late_and_says_so(
    run: Any, receipt: Any, worker: Worker, caplog: Any
) -> None:
    kept: list[DeferHandle] = []

    run(lambda: kept.append(defer("receipt", receipt, order_id=7)))
    kept[0].abort()

    assert len(worker.published()) == 1
    assert "too late to abort" in caplog.text


def test_what_a_parent_has_not_made_cannot_be_withdrawn(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any
) -> None:
    @app.task
    def parent() -> None:
        defer("ship", ship, 1)
        defer("late", ship.with_options(when="failure"), 1)

    result = worker.run(parent)

    assert abort(result.id, "shp") is False
    assert app.AsyncResult(run_id(result.id, "shp")).state == "PENDING"
    assert abort(result.id, "ship") is True
    assert abort("of a parent still to come", "ship") is True
