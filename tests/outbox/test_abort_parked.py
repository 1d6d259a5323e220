"""A deferred run that is parked is aborted; one that is awake again is not."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import IdError, abort, defer, deferred, step
from tests.support.inside import WatchedStore, Worker

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture
def deferring(app: Celery) -> Any:
    @deferred
    @app.task(name="child", shared=False)
    def child() -> str:
        step.sleep("nap", 60)
        return "awake"

    @app.task(name="deferring")
    def deferring() -> str:
        return defer("child", child).id

    return deferring


def test_a_deferred_run_that_is_parked_is_aborted(
    app: Celery, worker: Worker, deferring: Any
) -> None:
    parent = worker.run(deferring)
    worker.drain()
    child = app.AsyncResult(parent.result)
    assert child.state == "WAITING"

    assert abort(parent.id, "child") is True
    assert child.state == "REVOKED"
    assert worker.later(60) == []


def test_to_abort_a_parked_run_twice_does_no_more(
    app: Celery, worker: Worker, deferring: Any
) -> None:
    parent = worker.run(deferring)
    worker.drain()
    abort(parent.id, "child")

    assert abort(parent.id, "child") is False
    assert app.AsyncResult(parent.result).state == "REVOKED"


def test_a_deferred_run_whose_wake_up_is_on_its_way_is_aborted(
    app: Celery, worker: Worker, deferring: Any
) -> None:
    parent = worker.run(deferring)
    worker.drain()
    (message,) = worker.later(60)

    assert abort(parent.id, "child") is True
    worker.trace(message)
    assert app.AsyncResult(parent.result).state == "REVOKED"


def test_a_parked_run_whose_claim_has_expired_is_aborted_too(
    app: Celery, worker: Worker, store: WatchedStore, deferring: Any
) -> None:
    parent = worker.run(deferring)
    worker.drain()
    store._store._owners.clear()  # after a day

    assert abort(parent.id, "child") is True
    assert app.AsyncResult(parent.result).state == "REVOKED"
    assert worker.later(60) == []


@pytest.mark.parametrize("given", [None, "", 7])
def test_what_is_no_defer_id_is_not_aborted(given: Any) -> None:
    with pytest.raises(IdError, match=r"defer id .* is not a non-empty string"):
        abort("run", given)
