"""Runs that an event cancels, or that take too long, on real workers, wherever they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from time import time
from uuid import uuid4

import pytest
from celery import Celery
from pytest_celery import CeleryTestWorker

from celery_defer import Defer, run_id, send_event
from tests.support.processes import wait_until
from tests.support.rabbitmq import own_rabbitmq
from tests.worker.local import LocalWorker
from tests.worker.waiting import Client

SETTINGS = {"result_expires": 60, "defer_relay_interval": 0.2}
BY_EVENT = "cancelled by event 'order/cancelled'"


@pytest.fixture(scope="module", params=["redis-prefork", "rabbitmq-threads"])
def client(redis_url: str, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of a worker with one place."""
    broker, _, pool = request.param.partition("-")
    if broker == "redis":
        yield from _client(redis_url, redis_url, pool)
    else:
        with own_rabbitmq() as url:
            yield from _client(url, redis_url, pool)


def _client(broker: str, redis_url: str, pool: str) -> Iterator[Client]:
    queue, prefix = f"ending-{uuid4().hex[:6]}", f"ending-{uuid4().hex[:6]}:"
    worker = LocalWorker(
        queue,
        *("--pool", pool, "--concurrency", "1"),
        app="tests.worker.ending",
        env={
            "CELERY_BROKER_URL": broker,
            "CELERY_RESULT_BACKEND": redis_url,
            "DEFER_TEST_CONFIG": json.dumps({**SETTINGS, "defer_key_prefix": prefix}),
        },
    )
    app = Celery("client", broker=broker, backend=redis_url, set_as_current=False)
    app.conf.task_default_queue = queue
    with Client(app, CeleryTestWorker(worker, app), prefix) as client:
        worker.ready()
        yield client
    worker.kill()  # on RabbitMQ Celery takes ten seconds to end threads
    worker.teardown()


@pytest.fixture(autouse=True)
def _nothing_is_left(client: Client) -> Iterator[None]:
    yield
    keys = [*client.redis.scan_iter(f"{client.prefix}watch:*")]
    assert (keys, client.redis.exists(f"{client.prefix}deadlines")) == ([], 0)


def ordered(client: Client, *names: str, waits: bool = False) -> tuple[str, list[str], str]:
    """Let a task defer functions at once; return its run, theirs, and the number of the order."""
    number = uuid4().hex
    parent = client.send("ends.order", list(names), number, waits)
    runs = [run_id(parent, f"{name}-{n}") for n, name in enumerate(names)]
    return parent, runs, number


def ended(client: Client, run: str) -> tuple[str, str]:
    """Wait for the end of a run; return its state, and what its result says."""
    meta = client.end(run)
    return meta["status"], str(meta["result"])


def test_a_parked_run_ends_and_its_place_is_free(client: Client) -> None:
    _, [run], number = ordered(client, "packed")
    client.waits(run)

    assert client.result(client.send("ends.tell", number)) == 1
    assert ended(client, run) == ("REVOKED", BY_EVENT)
    assert client.marks("began", run) == 1


def test_a_run_in_progress_begins_no_further_step(client: Client) -> None:
    _, [run], number = ordered(client, "held")
    wait_until(lambda: client.marks("held", run), f"{run} is in its body")
    sent = _tell_from_here(client, number)
    client.go(run)

    assert (sent, ended(client, run)) == (1, ("REVOKED", BY_EVENT))
    assert client.marks("sent", run) == 0


def test_a_run_whose_message_still_waits_does_not_start(client: Client) -> None:
    parent, [run], number = ordered(client, "packed", waits=True)
    wait_until(lambda: client.marks("held", parent), "its parent stays in the one place")
    _tell_from_here(client, number)
    client.go(parent)

    assert ended(client, run) == ("REVOKED", BY_EVENT)
    assert client.marks("began", run) == 0


def test_a_run_that_waits_for_too_long_ends_at_its_deadline(client: Client) -> None:
    _, [run], _ = ordered(client, "short")
    client.waits(run)
    since = time()

    assert ended(client, run) == ("REVOKED", "not finished within 2s")
    assert time() - since < 10


def test_a_run_that_comes_too_late_does_not_start(client: Client) -> None:
    parent, [run], _ = ordered(client, "punctual", waits=True)
    wait_until(lambda: client.marks("held", parent), "its parent stays in the one place")
    since = time()
    wait_until(lambda: time() > since + 1.1, "the run is late")
    client.go(parent)

    assert ended(client, run) == ("REVOKED", "not started within 1s")
    assert client.marks("began", run) == 0


def test_a_run_that_is_held_back_for_too_long_ends(client: Client) -> None:
    _, [first, second], _ = ordered(client, "paced", "paced")

    ends = sorted([ended(client, first)[0], ended(client, second)[0]])
    assert ends == ["REVOKED", "SUCCESS"]


def _tell_from_here(client: Client, number: str) -> int:
    """Send the event from the test: the worker's one place is taken."""
    app = Celery("teller", broker=client.app.conf.broker_url, set_as_current=False)
    app.conf.update(result_backend=client.app.conf.result_backend, defer_key_prefix=client.prefix)
    Defer(app)
    return send_event("order/cancelled", {"order_id": number}, app=app).cancelled
