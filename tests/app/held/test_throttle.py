"""Runs of a function with a throttle start at their time."""

from __future__ import annotations

import pytest
from celery import Celery

from celery_defer import Throttle, deferred
from tests.support.held_runs import messages_of
from tests.support.inside import WatchedStore, Worker


def test_a_throttled_run_waits_until_its_time(
    app: Celery, worker: Worker, store: WatchedStore, ran: list[int]
) -> None:
    @deferred(app, throttle=Throttle(1, 60), name="paced", shared=False)
    def paced(n: int) -> None:
        ran.append(n)

    for message in messages_of(app, worker, paced, 1, 2):
        worker.trace(message)
    assert ran == [1]

    worker.wake(50)
    assert ran == [1]
    worker.wake(11)
    assert ran == [1, 2]


def test_a_run_that_may_start_at_once_almost_waits_in_its_worker(
    app: Celery, worker: Worker, ran: list[int]
) -> None:
    pauses: list[float] = []
    app._celery_defer.pause = pauses.append

    @deferred(app, throttle=Throttle(20, 1), name="paced", shared=False)
    def paced(n: int) -> None:
        ran.append(n)

    for message in messages_of(app, worker, paced, 1, 2):
        worker.trace(message)

    assert ran == [1, 2]
    assert pauses == [pytest.approx(0.05125, abs=1e-6)]
