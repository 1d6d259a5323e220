"""A function with one place, whose runs do what a test says."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import Concurrency, deferred
from tests.support.held_runs import Act
from tests.support.inside import WatchedStore, Worker


@pytest.fixture(autouse=True)
def _one_clock(worker: Worker, store: WatchedStore) -> None:
    store._store.clock = lambda: worker.now


@pytest.fixture
def ran() -> list[int]:
    return []


@pytest.fixture
def acts() -> dict[int, Act]:
    """What the body of a run does, by its number."""
    return {}


@pytest.fixture
def work(app: Celery, ran: list[int], acts: dict[int, Act]) -> Any:
    @deferred(app, concurrency=Concurrency(1), name="work", shared=False, acks_late=True)
    def work(n: int) -> int:
        ran.append(n)
        acts.get(n, lambda n: n)(n)
        return n

    return work
