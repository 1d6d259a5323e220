"""An app whose broker and backend are in this process, a simulation of it, and a worker."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, _state

from celery_defer import Defer
from celery_defer.testing import Simulation
from tests.support.inside import WatchedStore, Worker, ship_of
from tests.support.log_lines import Watch
from tests.support.one_redis import close_apps
from tests.support.redis import Server, running


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Celery:
    # Celery makes the tasks of every app in every later one; here each test has its own.
    monkeypatch.setattr("celery._state._on_app_finalizers", set(_state._on_app_finalizers))
    name = f"unit-{uuid.uuid4().hex}"
    app = Celery(name, broker="memory://", backend="cache+memory://", set_as_current=True)
    app.conf.task_default_queue = name
    app.backend.client.cache.clear()  # one for all apps of a process
    Defer(app)
    return app


@pytest.fixture(autouse=True)
def log_lines() -> Iterator[Watch]:
    """Fails the test if the package has logged a line with the ids of another run, or none."""
    watch, logger = Watch(), logging.getLogger("celery_defer")
    logger.addHandler(watch)
    logger.setLevel(logging.INFO)
    yield watch
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(watch)
    assert watch.wrong == []


@pytest.fixture(scope="module")
def running_server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def server(running_server: Server) -> Iterator[Server]:
    """A Redis of the module's own, which is empty."""
    running_server.client().flushall()
    yield running_server
    close_apps()


@pytest.fixture
def worker(app: Celery) -> Worker:
    return Worker(app)


@pytest.fixture
def store(app: Celery) -> WatchedStore:
    """The store of the app: what is asked of it can be read, and it can be away."""
    app._celery_defer.store = store = WatchedStore()
    return store


@pytest.fixture
def sim(app: Celery) -> Iterator[Simulation]:
    """The app in a simulation, which takes the place of its broker, backend and store."""
    with Simulation(app) as simulation:
        yield simulation


@pytest.fixture
def ship(app: Celery) -> Any:
    """A deferred task that returns its number."""
    return ship_of(app)


@pytest.fixture
def nowhere() -> Celery:
    """An app with the same task whose broker is away."""
    away = Celery("nowhere", broker="redis://127.0.0.1:1/0", backend="cache+memory://")
    Defer(away)
    away._celery_defer.store = WatchedStore()
    ship_of(away)
    return away
