"""Rule 13.2: what a block defers is published if a database transaction commits."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import (
    defer,
    deferring,
)
from tests.support.blocks import Published, Transaction
from tests.support.inside import WatchedStore, Worker


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
