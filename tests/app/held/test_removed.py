"""A limit that is removed from the code holds nobody back after the deploy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from celery_defer import Concurrency, Throttle, defer, deferred
from celery_defer.app.bootstep import RelayStep
from tests.support.inside import WatchedStore, Worker, parent_of


@pytest.fixture(autouse=True)
def _one_clock(worker: Worker, store: WatchedStore) -> None:
    store._store.clock = lambda: worker.now


@pytest.fixture
def ran() -> list[int]:
    return []


def release(app: Celery, ran: list[int], **limits: Any) -> Any:
    """Return the task as a release of the code has it."""
    app.tasks.pop("sync", None)

    @deferred(app, name="sync", shared=False, **limits)
    def sync(n: int) -> None:
        ran.append(n)

    return sync


def arrive(app: Celery, worker: Worker, task: Any) -> None:
    def parent() -> None:
        for n in range(4):
            defer(f"n{n}", task, n=n)

    worker.run(parent_of(app, parent))
    worker.drain()


@pytest.mark.parametrize("kept", [{}, {"concurrency": Concurrency(9)}])
def test_a_worker_that_starts_lets_those_go_who_wait_for_a_limit_that_was_removed(
    app: Celery, worker: Worker, store: WatchedStore, ran: list[int], kept: Any
) -> None:
    arrive(app, worker, release(app, ran, throttle=Throttle(1, "1h"), **kept))
    assert ran == [0]

    release(app, ran, **kept)
    relay: Any = RelayStep(SimpleNamespace(app=app))._relay
    for _ in range(2):
        relay._tick()
    worker.wake(1)

    assert sorted(ran) == [0, 1, 2, 3]
    assert [each.name for each in store.flow(["sync"])[0].limits] == list(kept)


def test_a_run_that_is_woken_without_limits_lets_the_others_go(
    app: Celery, worker: Worker, store: WatchedStore, ran: list[int]
) -> None:
    store.pause("sync", is_paused=True)
    arrive(app, worker, release(app, ran, concurrency=Concurrency(1)))
    store.pause("sync", is_paused=False)
    release(app, ran)
    worker.wake(1)
    worker.wake(1)

    assert sorted(ran) == [0, 1, 2, 3]
    assert store.flow(["sync"])[0].limits == ()
    assert not any(gate.places for gate in store._store._gates.values())
