"""Runs with limits while the store, or a part of it, does not do its work."""

from __future__ import annotations

from typing import Any

from celery import Celery

from tests.support.held_runs import Act, messages_of, state_of
from tests.support.inside import WatchedStore, Worker


def test_without_a_store_that_replies_a_run_is_tried_again(
    app: Celery,
    worker: Worker,
    store: WatchedStore,
    work: Any,
    ran: list[int],
    acts: dict[int, Act],
    caplog: Any,
) -> None:
    """A limit that holds only while the store is there would be none."""
    first, second = messages_of(app, worker, work, 1, 2)

    def arrive(_: int) -> None:
        store.away = {"claim"}
        worker.trace(second)
        store.away = set()

    acts[1] = arrive
    worker.trace(first)

    assert ran == [1]
    assert state_of(app, second) == "RETRY"
    assert "the store is away, so it is retried" in caplog.text
    worker.drain()
    assert ran == [1, 2]


def test_a_run_that_can_neither_start_nor_be_held_is_tried_again(
    app: Celery,
    worker: Worker,
    store: WatchedStore,
    work: Any,
    ran: list[int],
    acts: dict[int, Act],
) -> None:
    first, second = messages_of(app, worker, work, 1, 2)

    def arrive(_: int) -> None:
        store.away = {"hold"}
        worker.trace(second)
        store.away = set()

    acts[1] = arrive
    worker.trace(first)

    assert ran == [1]
    assert state_of(app, second) == "RETRY"
    worker.drain()
    assert ran == [1, 2]


def test_a_place_that_cannot_be_given_back_delays_nobody_but_others(
    app: Celery,
    worker: Worker,
    store: WatchedStore,
    work: Any,
    ran: list[int],
    acts: dict[int, Act],
) -> None:
    first, second = messages_of(app, worker, work, 1, 2)

    def arrive(_: int) -> None:
        worker.trace(second)
        store.away = {"give_back"}

    acts[1] = arrive
    worker.trace(first)
    store.away = set()

    assert app.AsyncResult(first.headers["id"]).get() == 1
    assert worker.published() == []
    worker.wake(31)
    assert ran == [1, 2]
