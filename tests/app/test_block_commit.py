"""Rule 13.2: what a block defers is published if a database transaction commits."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from celery import Celery

from celery_defer import (
    defer,
    deferring,
)
from tests.support.blocks import Published, Transaction, failing
from tests.support.inside import WatchedStore, Worker, ids_of, parent_of


def test_13_2_the_calls_are_published_when_the_transaction_commits(
    ship: Any, store: WatchedStore, published: Published
) -> None:
    transaction = Transaction()
    with deferring(on_commit=transaction.on_commit):
        defer("first", ship, n=1)
    before = published(), store.asked

    transaction.commit()

    assert before == ([], ["stage", "settle"])  # the list is that of the store
    assert published() == ["first"]


def test_13_2_a_transaction_that_rolls_back_publishes_nothing(
    ship: Any, store: WatchedStore, published: Published
) -> None:
    with deferring(on_commit=Transaction().on_commit):
        defer("first", ship, n=1)

    assert (published(), store.asked) == ([], [])


def test_a_block_that_raises_or_has_no_calls_waits_for_no_commit(ship: Any) -> None:
    transaction = Transaction()

    def view(*, fails: bool) -> None:
        with deferring(on_commit=transaction.on_commit):
            if fails:
                defer("first", ship, n=1)
                raise ValueError("the user's")

    view(fails=False)
    with pytest.raises(ValueError, match="the user's"):
        view(fails=True)

    assert transaction.hooks == []


def test_a_commit_that_is_told_twice_publishes_once(ship: Any, published: Published) -> None:
    transaction = Transaction()
    with deferring(on_commit=transaction.on_commit):
        defer("first", ship, n=1)

    transaction.commit()
    transaction.commit()

    assert published() == ["first"]


def test_after_a_commit_a_loss_is_logged_for_the_commit_has_happened(
    nowhere: Celery, caplog: Any
) -> None:
    nowhere._celery_defer.store = None
    transaction = Transaction()
    with deferring(nowhere, on_commit=transaction.on_commit):
        defer("first", nowhere.tasks["ship"], n=1)

    transaction.commit()

    assert "defer 'first'" in caplog.text
    assert "is lost" in caplog.text


def test_a_call_can_be_aborted_between_the_block_and_the_commit(
    ship: Any, store: WatchedStore, worker: Worker
) -> None:
    transaction = Transaction()
    with deferring(on_commit=transaction.on_commit):
        handle = defer("first", ship, n=1)

    handle.abort()
    transaction.commit()

    assert [result.state for result in worker.drain()] == ["ABORTED"]


# -- in a run, or in another block ---------------------------------------------------------


def test_in_a_task_the_calls_are_the_runs_if_the_transaction_commits(
    app: Celery, ship: Any, worker: Worker, published: Published
) -> None:
    def body() -> None:
        for id, commits in (("committed", True), ("rolled back", False)):
            transaction = Transaction()
            with deferring(on_commit=transaction.on_commit):
                defer(id, ship, n=1)
            if commits:
                transaction.commit()
        assert published() == []

    result = worker.run(parent_of(app, body))

    assert result.state == "SUCCESS"
    assert published() == ["committed"]


def test_a_task_that_fails_after_the_commit_publishes_nothing(
    app: Celery, ship: Any, worker: Worker, published: Published
) -> None:
    def body() -> None:
        transaction = Transaction()
        with deferring(on_commit=transaction.on_commit):
            defer("first", ship, n=1)
        transaction.commit()
        raise ValueError

    worker.run(parent_of(app, body))

    assert published() == []


def test_a_block_in_a_block_waits_for_its_transaction_too(ship: Any, published: Published) -> None:
    committed, rolled_back = Transaction(), Transaction()

    with deferring():
        defer("outer", ship, n=1)
        with deferring(on_commit=committed.on_commit):
            defer("committed", ship, n=2)
        with deferring(on_commit=rolled_back.on_commit):
            defer("rolled back", ship, n=3)
        committed.commit()

    assert published() == ["outer", "committed"]


def test_a_commit_after_the_outer_block_publishes_under_the_same_parent(
    ship: Any, store: WatchedStore, worker: Worker
) -> None:
    transaction = Transaction()
    with deferring() as outer:
        defer("outer", ship, n=1)
        with deferring(on_commit=transaction.on_commit):
            handle = defer("inner", ship, n=2)
    before = ids_of(worker.published())

    transaction.commit()

    (message,) = worker.published()
    assert before == ["outer"]
    assert (message.headers["parent_id"], message.headers["id"]) == (outer.id, handle.id)


def test_a_commit_after_an_outer_block_that_has_raised_publishes_nothing(
    app: Celery, ship: Any, worker: Worker, published: Published
) -> None:
    transaction = Transaction()

    def call() -> None:
        with deferring(on_commit=transaction.on_commit):
            defer("inner", ship, n=1)

    def body() -> None:
        with suppress(ValueError):
            failing(call)
        transaction.commit()

    body()
    worker.run(parent_of(app, body))

    assert published() == []
