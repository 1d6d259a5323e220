"""How much of what a run remembers is read in each turn."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
from celery import Celery

from celery_defer import send_event, step
from celery_defer.run import WAKE
from celery_defer.store import RedisStore
from tests.support.inside import Worker
from tests.support.redis import Server, running

SIZE = 200_000


@pytest.fixture
def server(app: Celery) -> Iterator[Server]:
    """The Redis of the app's store; results are kept elsewhere."""
    with running() as server, server.client() as client:
        app._celery_defer.store = RedisStore(client)
        yield server


def sent_by(server: Server) -> int:
    with server.client() as client:
        return int(client.info("stats")["total_net_output_bytes"])


def test_a_wake_up_that_is_published_twice_reads_what_the_run_remembers_once(
    app: Celery, worker: Worker, server: Server
) -> None:
    @app.task
    def parent() -> None:
        step.run("report", lambda: "x" * SIZE)
        step.wait_for_event("go on", "go on", timeout="1h")

    run = worker.run(parent)
    send_event("go on")
    [message] = worker.published()
    twin = copy.copy(message)
    twin.headers = {**message.headers, WAKE: {**message.headers[WAKE], "token": "other"}}
    worker.trace(message)
    before = sent_by(server)
    worker.trace(twin)

    assert run.state == "SUCCESS"
    assert sent_by(server) - before < SIZE


def test_what_a_run_remembers_is_read_once_a_turn(
    app: Celery, worker: Worker, server: Server
) -> None:
    turns = []

    @app.task
    def parent() -> int:
        turns.append(1)
        step.run("report", lambda: "x" * SIZE)
        for _ in range(5):
            step.wait_for_event("go on", "go on", timeout="1h")
        return len(turns)

    before = sent_by(server)
    run = worker.run(parent)
    for _ in range(5):
        send_event("go on")
        worker.drain()

    assert run.result == 6
    assert 5 * SIZE < sent_by(server) - before < 6 * SIZE
