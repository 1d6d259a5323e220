"""A worker looks which of the runs that Celery has revoked are parked, and ends them."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from celery.worker import state

from celery_defer import step
from celery_defer.app.revoked import Revoked
from tests.support.inside import WatchedStore, Worker


@pytest.fixture
def sleeper(app: Celery) -> Any:
    @app.task(name="sleeper")
    def sleeper() -> str:
        step.sleep("nap", 60)
        return "awake"

    return sleeper


@pytest.fixture(autouse=True)
def _nothing_revoked() -> Any:
    yield
    state.revoked.clear()


@pytest.fixture
def revoked(worker: Worker, store: WatchedStore, app: Celery) -> Revoked:
    return Revoked(app, store, 60)


def test_a_parked_run_that_celery_revokes_ends(
    sleeper: Any, worker: Worker, revoked: Revoked
) -> None:
    result = worker.run(sleeper)
    state.revoked.add(result.id)
    revoked.look()

    assert result.state == "REVOKED"
    assert worker.later(60) == []


def test_only_what_is_parked_is_ended_by_a_look(
    sleeper: Any, worker: Worker, revoked: Revoked, store: WatchedStore
) -> None:
    finished = worker.run(sleeper)
    worker.wake(60)
    other = worker.run(sleeper)
    state.revoked.update([finished.id, "unknown"])
    revoked.look()

    assert finished.result == "awake"
    assert other.state == "WAITING"
    assert store.asked.count("cancel") == 2


def test_each_revoke_is_looked_at_once(
    sleeper: Any, worker: Worker, revoked: Revoked, store: WatchedStore
) -> None:
    for _ in range(3):
        state.revoked.add(worker.run(sleeper).id)
        revoked.look()
        revoked.look()

    assert store.asked.count("cancel") == 3


def test_a_look_that_fails_is_made_again(
    sleeper: Any, worker: Worker, revoked: Revoked, store: WatchedStore
) -> None:
    result = worker.run(sleeper)
    state.revoked.add(result.id)
    store.away = {"cancel"}
    with pytest.raises(ConnectionError):
        revoked.look()
    store.away = set()
    revoked.look()

    assert result.state == "REVOKED"


def test_a_revoke_is_seen_though_another_was_forgotten_meanwhile(
    sleeper: Any, worker: Worker, revoked: Revoked
) -> None:
    state.revoked.add("old")
    revoked.look()
    result = worker.run(sleeper)
    state.revoked.discard("old")
    state.revoked.add(result.id)
    revoked.look()

    assert result.state == "REVOKED"


def test_of_two_workers_one_ends_the_run(
    sleeper: Any, app: Celery, worker: Worker, store: WatchedStore, revoked: Revoked
) -> None:
    other = Revoked(app, store, 60)
    result = worker.run(sleeper)
    state.revoked.add(result.id)
    revoked.look()
    other.look()

    assert result.state == "REVOKED"
