"""A deferred run that is parked is aborted; one that is awake again is not."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.worker import state

from celery_defer import IdError, abort, defer, deferred, step
from tests.support.inside import WatchedStore
from tests.support.stage import Stage


@pytest.fixture(autouse=True)
def _nothing_revoked() -> Any:
    yield
    state.revoked.clear()


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
    app: Celery, stage: Stage, deferring: Any
) -> None:
    parent = stage.begin(deferring)
    stage.worker.drain()
    child = app.AsyncResult(parent.result)
    assert child.state == "WAITING"

    assert abort(parent.id, "child") is True
    assert child.state == "REVOKED"
    assert stage.later(60) == []


def test_to_abort_a_parked_run_twice_does_no_more(
    app: Celery, stage: Stage, deferring: Any
) -> None:
    parent = stage.begin(deferring)
    stage.worker.drain()
    abort(parent.id, "child")

    assert abort(parent.id, "child") is False
    assert app.AsyncResult(parent.result).state == "REVOKED"


def test_a_deferred_run_that_is_awake_again_is_not_aborted(
    app: Celery, stage: Stage, deferring: Any
) -> None:
    parent = stage.begin(deferring)
    stage.worker.drain()
    (message,) = stage.later(60)

    assert abort(parent.id, "child") is False
    stage.worker.trace(message)
    assert app.AsyncResult(parent.result).result == "awake"


def test_a_parked_run_whose_claim_has_expired_is_aborted_too(
    app: Celery, stage: Stage, store: WatchedStore, deferring: Any
) -> None:
    parent = stage.begin(deferring)
    stage.worker.drain()
    store._store._owners.clear()  # after a day

    assert abort(parent.id, "child") is True
    assert app.AsyncResult(parent.result).state == "REVOKED"
    assert stage.later(60) == []


@pytest.mark.parametrize("given", [None, "", 7])
def test_what_is_no_defer_id_is_not_aborted(stage: Stage, given: Any) -> None:
    assert stage.parked() == 0
    with pytest.raises(IdError, match=r"defer id .* is not a non-empty string"):
        abort("run", given)
