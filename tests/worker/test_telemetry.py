"""OpenTelemetry in real workers: prefork, on Redis, with Celery's instrumentation and without."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from celery_defer import run_id
from tests.support import stored
from tests.support.processes import wait_until
from tests.worker.caller import Caller
from tests.worker.local import LocalWorker

Span = dict[str, Any]

KINDS = ["alone", "beside-celerys"]


@dataclass
class Traced:
    """A worker, and the spans that its processes have written."""

    caller: Caller
    file: Path

    def spans(self, name: str) -> list[Span]:
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [span for line in lines if (span := json.loads(line))["name"] == name]

    def await_span(self, name: str, run: str) -> Span:
        [span] = self.await_spans(name, run, 1)
        return span

    def await_spans(self, name: str, run: str, count: int) -> list[Span]:
        """Return the spans of a run, when there are *count* of them."""

        def of_run() -> list[Span]:
            spans = self.spans(name)
            return [s for s in spans if _run_of(s) == run]

        wait_until(lambda: len(of_run()) >= count, f"{count} spans of {name}")
        return of_run()

    def tell(self, event: str, waiting: str) -> str:
        """Send the event, when the run waits for it."""
        key = f"{self.caller.worker.worker_queue}:{{{waiting}}}:outbox"
        wait_until(lambda: stored.field_of(self.caller.redis, key, "step"), f"{waiting} waits")
        return self.caller.send("traced.tell", event)


@pytest.fixture(scope="module")
def workers(
    start_module_worker: Callable[..., LocalWorker], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[LocalWorker, Path]]:
    folder = tmp_path_factory.mktemp("spans")

    def start(kind: str) -> LocalWorker:
        env = {"DEFER_TEST_TRACE": str(folder / kind)}
        env |= {"DEFER_TEST_CELERYS": "1"} if kind == "beside-celerys" else {}
        options = ["--concurrency", "1"]
        return start_module_worker(f"traced-{kind}", *options, app="tests.worker.traced", env=env)

    return {kind: (start(kind), folder / kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def traced(
    request: pytest.FixtureRequest,
    workers: dict[str, tuple[LocalWorker, Path]],
    caller_of: Callable[[LocalWorker], Caller],
) -> Traced:
    worker, file = workers[request.param]
    worker.ready()
    return Traced(caller_of(worker), file)


@pytest.fixture
def event() -> str:
    return f"news-{uuid4()}"


def test_runs_of_a_worker_are_linked_to_the_step_that_deferred_them(
    traced: Traced, event: str
) -> None:
    parent = traced.caller.send("traced.parent", event)
    step = traced.caller.result(parent)

    run = traced.await_span("run/traced.parent", parent)
    child = traced.await_span("run/traced.receipt", run_id(parent, "receipt"))
    assert child["links"] == [[{"celery_defer.link": "defer"}, step]]
    assert child["trace"] == run["trace"]
    assert child["attributes"]["celery_defer.parent.id"] == parent
    assert child["attributes"]["celery_defer.defer_id"] == "receipt"
    assert [s["parent"] for s in traced.spans("step defer") if s["id"] == step] == [run["id"]]


def test_a_run_that_a_relay_publishes_is_in_its_parents_trace(traced: Traced, event: str) -> None:
    killed = traced.caller.send("traced.killed", event)
    step = traced.caller.result(killed)

    child = traced.await_span("run/traced.receipt", run_id(killed, "receipt"))
    [step_span] = [span for span in traced.spans("step defer") if span["id"] == step]
    assert traced.spans("run/traced.killed") == []  # its process died before it could end
    assert child["links"] == [[{"celery_defer.link": "defer"}, step]]
    assert (child["trace"], child["parent"]) == (step_span["trace"], step)


@pytest.mark.parametrize("parent", ["traced.parent", "traced.killed"])
def test_a_run_that_an_event_wakes_goes_on_in_its_trace(
    traced: Traced, event: str, parent: str
) -> None:
    root = traced.caller.send(parent, event)
    step = traced.caller.result(root)
    waiting = run_id(root, "waiting")
    teller = traced.tell(event, waiting)

    first, second = traced.await_spans("run/traced.waiting", waiting, 2)
    sender = traced.await_span("run/traced.tell", teller)
    assert traced.caller.result(waiting) == "came"
    assert (second["trace"], second["parent"]) == (first["trace"], first["id"])
    assert sender["trace"] != second["trace"]
    assert second["links"] == [
        [{"celery_defer.link": "defer"}, step],
        [{"celery_defer.link": "wake"}, sender["id"]],
    ]
    [wait] = [span for span in traced.spans("wait news") if span["parent"] == first["id"]]
    assert wait["attributes"]["celery_defer.wait.event"] == event
    assert 0 < wait["seconds"] < 60


def _run_of(span: Span) -> str | None:
    """Return the run of a span, by our attribute or that of Celery's instrumentation."""
    attributes = span["attributes"]
    return attributes.get("messaging.message.id") or attributes.get("messaging.message_id")
