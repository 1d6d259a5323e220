"""A block's end while the store or the broker is away, or its process dies."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import (
    StoreError,
    defer,
    deferring,
)
from tests.support.blocks import Published
from tests.support.inside import WatchedStore, Worker, ids_of, ship_of


def test_with_the_store_away_the_calls_are_published_and_it_is_logged(
    ship: Any, store: WatchedStore, published: Published, caplog: Any
) -> None:
    store.away = {"stage"}

    with deferring():
        defer("first", ship, n=1)

    assert published() == ["first"]
    assert "will be published from memory" in caplog.text


def test_without_a_store_the_calls_are_published(ship: Any, published: Published) -> None:
    with deferring():
        defer("first", ship, n=1)

    assert published() == ["first"]


def test_with_the_broker_away_the_calls_wait_in_the_outbox_for_a_relay(
    nowhere: Celery, app: Celery, store: WatchedStore, worker: Worker
) -> None:
    ship_of(app)
    nowhere._celery_defer.store = store
    with deferring(nowhere):
        defer("first", nowhere.tasks["ship"], n=1)
    assert worker.published() == []

    assert ids_of(worker.later(60)) == ["first"]
    assert store.records() == []


def test_a_relay_publishes_what_a_process_that_died_has_staged(
    app: Celery, ship: Any, store: WatchedStore, worker: Worker, monkeypatch: Any
) -> None:
    class Died(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Died

    with monkeypatch.context() as dying:
        dying.setattr(app.backend, "store_result", die)  # after the record, before the messages
        with pytest.raises(Died), deferring():
            defer("first", ship, n=1)
    assert worker.published() == []

    assert ids_of(worker.later(60)) == ["first"]


@pytest.mark.parametrize("has_store", [True, False])
def test_a_block_raises_if_its_calls_can_be_kept_nowhere(nowhere: Celery, has_store: bool) -> None:
    if has_store:
        nowhere._celery_defer.store.away = {"stage"}
    else:
        nowhere._celery_defer.store = None

    with pytest.raises(StoreError, match="'first'"), deferring(nowhere):
        defer("first", nowhere.tasks["ship"], n=1)


def test_a_call_that_was_to_go_at_once_and_is_lost_raises_too(nowhere: Celery) -> None:
    nowhere._celery_defer.store.away = {"stage"}
    ship = nowhere.tasks["ship"]

    with pytest.raises(StoreError, match=r"cannot be published: 'now' \(ship\)"):  # noqa: SIM117
        with deferring(nowhere):
            defer("now", ship.with_options(when="now"), n=1)
