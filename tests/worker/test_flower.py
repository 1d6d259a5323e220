"""What Flower itself answers of runs that wait, and of runs that were deferred."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen
from uuid import uuid4

import pytest
from celery import Celery
from pytest_celery import CeleryTestWorker

from celery_defer import Defer, defer, deferred, deferring, run_id
from tests.support.processes import Process, wait_until
from tests.support.redis import free_port
from tests.worker.local import LocalWorker
from tests.worker.waiting import Client

APP = "tests.worker.stepping"


@dataclass(frozen=True)
class Flower:
    """A Flower at work, by its HTTP interface."""

    url: str

    def task(self, run: str) -> dict[str, Any]:
        """Return what the page of a run shows; nothing if Flower does not know it."""
        try:
            with urlopen(f"{self.url}/api/task/info/{run}", timeout=5) as answer:
                return dict(json.load(answer))
        except (HTTPError, URLError, TimeoutError):
            return {}

    def shows(self, run: str, state: str) -> dict[str, Any]:
        wait_until(lambda: self.task(run).get("state") == state, f"Flower shows {state}")
        return self.task(run)

    def is_up(self) -> bool:
        try:
            with urlopen(f"{self.url}/api/workers?refresh=1", timeout=5) as answer:
                return bool(json.load(answer))
        except (HTTPError, URLError, TimeoutError):
            return False


@pytest.fixture(scope="module")
def env(redis_url: str) -> dict[str, str]:
    config = {"defer_key_prefix": "flower:", "worker_send_task_events": True}
    return {
        "CELERY_BROKER_URL": redis_url,
        "CELERY_RESULT_BACKEND": redis_url,
        "DEFER_TEST_CONFIG": json.dumps(config),
    }


@pytest.fixture(scope="module")
def client(redis_url: str, env: dict[str, str]) -> Iterator[Client]:
    queue = f"flower-{uuid4().hex[:6]}"
    worker = LocalWorker(queue, "--concurrency", "1", app=APP, env=env)
    app = Celery("client", broker=redis_url, backend=redis_url, set_as_current=False)
    app.conf.task_default_queue = queue
    with Client(app, CeleryTestWorker(worker, app), "flower:") as client:
        worker.ready()
        yield client
    worker.teardown()


@pytest.fixture(scope="module")
def flower(env: dict[str, str], client: Client) -> Iterator[Flower]:
    port = free_port()
    command = [sys.executable, "-m", "celery", "-A", APP, "flower", f"--port={port}"]
    flower = Flower(f"http://127.0.0.1:{port}")
    with Process(
        [*command, "--address=127.0.0.1"], env={**env, "FLOWER_UNAUTHENTICATED_API": "true"}
    ):
        wait_until(flower.is_up, "Flower knows the worker", 30)
        yield flower


def test_the_page_of_a_parked_run_says_for_what_and_until_when(
    client: Client, flower: Flower
) -> None:
    run = client.play(["wait", "shown-by-flower", 300])
    told = client.waits(run)

    page = flower.shows(run, "WAITING")

    assert "at step 'news' for event 'shown-by-flower' until 20" in page["result"]
    assert page["eta"] == told["until"]
    client.tell("shown-by-flower", 7)
    assert flower.shows(run, "SUCCESS")["exception"] is None


def test_a_run_that_was_woken_is_shown_at_work(client: Client, flower: Flower) -> None:
    run = client.play(["wait", "then-held", 300], ["hold"])
    client.waits(run)
    flower.shows(run, "WAITING")

    client.tell("then-held")

    flower.shows(run, "STARTED")
    client.redis.rpush(f"go:{run}", "go")
    flower.shows(run, "SUCCESS")


def test_a_cancelled_run_is_shown_as_revoked(client: Client, flower: Flower) -> None:
    run = client.play(["wait", "never", 300])
    client.waits(run)

    assert client.cancel(run)

    assert flower.shows(run, "REVOKED")["result"] == "cancelled"


def test_a_deferred_run_and_its_parent_link_to_each_other(client: Client, flower: Flower) -> None:
    parent = client.play(["sleep", 1], ["defer"])
    child = run_id(parent, "follow-up")

    flower.shows(child, "SUCCESS")

    assert flower.task(child)["parent_id"] == parent
    assert flower.task(parent)["children"] == [child]


# redis-py says so of what Celery's result backend calls.
@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
def test_13_3_a_run_that_a_block_has_deferred_shows_the_block(
    client: Client, flower: Flower
) -> None:
    Defer(client.app)

    @deferred
    @client.app.task(name="steps.follow_up", shared=False)
    def follow_up(n: int) -> None: ...

    with deferring(client.app) as parent:
        handle = defer("follow-up", follow_up, n=1)

    assert flower.shows(handle.id, "SUCCESS")["parent_id"] == parent.id
