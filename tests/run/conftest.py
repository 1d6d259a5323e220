"""An app whose results and whose store are in one Redis, and a run of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from redis import Redis

from celery_defer import Defer
from celery_defer.ids import RunId
from celery_defer.run import Scope
from tests.support.redis import Server


@pytest.fixture
def results(server: Server) -> Iterator[Redis]:
    """A client of the database that has the results."""
    with server.client(db=1) as client:
        client.flushall()
        yield client


@pytest.fixture
def redis_app(server: Server, results: Redis) -> Iterator[Any]:
    app: Any = Celery(broker=f"{server.url}/0", backend=f"{server.url}/1", set_as_current=False)
    app.conf.defer_store_url = f"{server.url}/2"
    Defer(app)
    yield app
    app.close()


@pytest.fixture
def run(redis_app: Any) -> Scope:
    """The run with the id "run", which is in progress on a worker."""

    @redis_app.task(name="ship", shared=False)
    def ship() -> None: ...

    extension = redis_app._celery_defer
    request = {"id": RunId("run"), "hostname": "worker@host", "task": "ship"}
    run = Scope(redis_app.tasks["ship"], request, extension.settings, extension.store)
    run.context = Context(request)  # as at the beginning of the body
    return run
