"""What Flower itself answers of runs that wait, and of runs that were deferred."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen
from uuid import uuid4

import pytest
from celery import Celery
from pytest_celery import CeleryTestWorker

from celery_defer import Defer, defer, deferred, deferring, run_id
from tests.support import flower as support
from tests.support.flower import Visitor
from tests.support.processes import wait_until
from tests.worker.local import LocalWorker
from tests.worker.waiting import Client

APP = "tests.worker.stepping"


class Flower(support.Flower):
    """A Flower at work, by its HTTP interface."""

    def task(self, run: str) -> dict[str, Any]:
        """Return what the page of a run shows; nothing if Flower does not know it."""
        return self._read(f"/api/task/info/{run}")

    def shows(self, run: str, state: str) -> dict[str, Any]:
        wait_until(lambda: self.task(run).get("state") == state, f"Flower shows {state}")
        return self.task(run)

    def knows_a_worker(self) -> bool:
        return bool(self._read("/api/workers?refresh=1"))

    def _read(self, path: str) -> dict[str, Any]:
        try:
            with urlopen(f"{self.url}{path}", timeout=5) as answer:
                return dict(json.load(answer))
        except (HTTPError, URLError, TimeoutError):
            return {}


@pytest.fixture(scope="module")
def env(redis_url: str) -> dict[str, str]:
    config = {
        "defer_key_prefix": "flower:",
        "result_extended": True,  # so that any run can be restarted
        "worker_send_task_events": True,
    }
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
    with Flower(APP, env={**env, "FLOWER_UNAUTHENTICATED_API": "true"}) as flower:
        wait_until(flower.knows_a_worker, "Flower knows the worker", 30)
        yield flower


@pytest.fixture
def visitor(flower: Flower) -> Iterator[Visitor]:
    with flower.visitor() as visitor:
        yield visitor


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


# -- the Deferred tab -----------------------------------------------------------------------------


def test_the_pages_of_a_parent_and_of_its_deferred_run_show_each_other(
    client: Client, flower: Flower, visitor: Visitor
) -> None:
    parent = client.play(["defer"])
    child = run_id(parent, "follow-up")
    flower.shows(child, "SUCCESS")

    of_parent, of_child = visitor.page(f"/task/{parent}"), visitor.page(f"/task/{child}")

    assert "Deferred runs" in of_parent
    assert f'<a href="/task/{child}">follow-up</a>' in of_parent
    assert f'href="/deferred/run/{parent}"' in of_parent
    assert "deferred as <code>follow-up</code>" in of_child
    assert f'<a href="/task/{parent}">steps.plain</a>' in of_child


def test_deferred_runs_can_be_left_out_of_flowers_list(
    client: Client, flower: Flower, visitor: Visitor
) -> None:
    parent = client.play(["defer"])
    child = run_id(parent, "follow-up")
    flower.shows(child, "SUCCESS")

    before = _listed(visitor)
    visitor.press("/tasks", "switch")
    hidden = _listed(visitor)
    visitor.press("/tasks", "switch")

    assert {parent, child} <= before
    assert parent in hidden
    assert child not in hidden
    assert _listed(visitor) >= before


def _listed(visitor: Visitor) -> set[str]:
    table = {"draw": "1", "start": "0", "length": "1000", "search[value]": ""}
    order = {"order[0][column]": "0", "order[0][dir]": "desc", "columns[0][data]": "name"}
    response = visitor.post("/tasks/datatable", data={**table, **order})
    return {row["uuid"] for row in response.json()["data"]}


def test_a_parked_run_is_woken_by_a_button(client: Client, visitor: Visitor) -> None:
    run = client.play(["wait", "by-a-button", 300])
    client.waits(run)
    page = f"/deferred/run/{run}"

    assert "by-a-button" in visitor.page("/deferred/waiting?event=by-a-button")
    visitor.press(page, "wake")

    assert "The run goes on." in visitor.page(page)
    client.becomes(run, "SUCCESS")
    assert "SUCCEEDED" in visitor.page(page)


def test_a_parked_run_is_cancelled_by_a_button_that_asks_first(
    client: Client, visitor: Visitor
) -> None:
    run = client.play(["wait", "never-by-a-button", 300])
    client.waits(run)
    page = f"/deferred/run/{run}"

    asked = visitor.press(page, "cancel")
    assert "Cancel this run?" in asked.text
    client.waits(run)
    visitor.submit(visitor.form(asked.text, "cancel"))

    client.becomes(run, "REVOKED")
    assert "The run has ended as REVOKED." in visitor.page(page)


def test_a_failed_run_is_restarted_by_a_button(client: Client, visitor: Visitor) -> None:
    run = client.play(["hold"], ["fail"])
    client.redis.rpush(f"go:{run}", "go")
    client.becomes(run, "FAILURE")
    page = f"/deferred/run/{run}"

    asked = visitor.press(page, "restart")
    visitor.submit(visitor.form(asked.text, "restart"))

    assert "The run goes on where it ended." in visitor.page(page)
    wait_until(lambda: int(client.redis.get(f"held:{run}") or 0) == 2, "its body runs again")


def test_an_event_is_sent_by_a_form(client: Client, visitor: Visitor) -> None:
    run = client.play(["wait", "by-a-form", 300, {"n": 7}])
    client.waits(run)
    event = {"name": "by-a-form"}

    bad = visitor.press("/deferred/waiting", "send-event", **event, data="{n: 7}")
    other = visitor.press("/deferred/waiting", "send-event", **event, data='{"n": 8}')
    said = visitor.page("/deferred/waiting")
    visitor.press("/deferred/waiting", "send-event", **event, data='{"n": 7}')

    assert "The event&#x27;s data is not JSON" in bad.text
    assert other.status_code == 303
    assert "Event &#x27;by-a-form&#x27; has woken 0 runs." in said
    assert client.becomes(run, "SUCCESS")["got"] == [{"n": 7}]
