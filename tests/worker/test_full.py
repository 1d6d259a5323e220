"""A Redis that is full, and keeps messages and steps: runs that use it go on when it has room."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest
from celery import Celery
from pytest_celery import CeleryTestWorker

from tests.support.processes import wait_until
from tests.support.redis import Server
from tests.worker.local import LocalWorker
from tests.worker.waiting import Client

WAITS = "waits in its worker, because the broker does not take its retry"


@pytest.fixture(scope="module")
def client(running_server: Server, redis_url: str) -> Iterator[Client]:
    """A client of a worker whose results are elsewhere."""
    broker = f"{running_server.url}/0"
    config = json.dumps({"defer_store_url": f"{running_server.url}/1"})
    worker = LocalWorker(
        f"full-{uuid4().hex[:6]}",
        *("--concurrency", "1"),
        env={
            "CELERY_BROKER_URL": broker,
            "CELERY_RESULT_BACKEND": redis_url,
            "DEFER_TEST_CONFIG": config,
        },
        app="tests.worker.stepping",
    )
    try:
        worker.ready()
        app = Celery("client", broker=broker, backend=redis_url, set_as_current=False)
        with Client(app, CeleryTestWorker(worker, app)) as client:
            yield client
    finally:
        worker.teardown()


@pytest.mark.parametrize("script", [["do", "a"], ["sleep", 0.1]], ids=lambda script: script[0])
@pytest.mark.parametrize("kind", ["plain", "late"])
def test_a_run_that_finds_redis_full_is_tried_again(
    client: Client, running_server: Server, kind: str, script: list[object]
) -> None:
    run = client.play(["hold"], script, kind=kind)
    wait_until(lambda: client.marks("held", run) == 1, "the body waits")
    with running_server.client() as redis:
        redis.config_set("maxmemory", 1)
        client.go(run)
        wait_until(lambda: f"run {run} (steps.{kind}) {WAITS}" in client.worker.logs(), WAITS)
        redis.config_set("maxmemory", 0)

    assert client.result(run)["got"]
    assert client.marks("end", run) == 1
