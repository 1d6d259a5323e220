"""Sentry's and OpenTelemetry's Celery integrations beside the package, in either order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from celery_defer import run_id
from tests.support.processes import wait_until
from tests.worker.caller import Caller
from tests.worker.local import LocalWorker

TRACERS = ["sentry-first", "sentry-last", "otel-first", "otel-last"]

Span = dict[str, str]


@pytest.fixture(scope="module")
def traced(
    start_module_worker: Callable[..., LocalWorker], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[LocalWorker, Path]]:
    """A worker for each tracer and order, and the file of its spans."""
    folder = tmp_path_factory.mktemp("traces")
    return {
        tracer: (
            start_module_worker(
                tracer,
                *("--pool", "solo"),
                env={"DEFER_TEST_TRACER": tracer, "DEFER_TEST_TRACE": str(folder / tracer)},
            ),
            folder / tracer,
        )
        for tracer in TRACERS
    }


@pytest.mark.parametrize("tracer", TRACERS)
@pytest.mark.parametrize("options", [{}, {"countdown": 0}], ids=["batch", "apply_async"])
def test_a_deferred_run_runs_once_in_its_parents_trace(
    traced: dict[str, tuple[LocalWorker, Path]],
    caller_of: Callable[[LocalWorker], Caller],
    tracer: str,
    options: dict[str, int],
) -> None:
    worker, file = traced[tracer]
    worker.ready()
    caller = caller_of(worker)
    file.write_text("")

    call = {"id": "next", "kind": "plain", "n": 1, "options": options}
    parent = caller.send("parents.scripted", calls=[call])
    caller.child(parent, "next")
    caller.settle()

    parents = wait_until(lambda: runs_of(file, "parents.scripted"), "the parent's span")
    children = wait_until(lambda: runs_of(file, "kinds.plain"), "the child's span")
    assert caller.marks("began", run_id(parent, "next")) == 1
    assert (len(parents), len(children)) == (1, 1)
    assert children[0]["trace"] == parents[0]["trace"]
    assert parents[0]["id"] in ancestors(file, children[0])


def runs_of(file: Path, task: str) -> list[Span]:
    return [span for span in spans(file) if span["name"] in {task, f"run/{task}"}]


def spans(file: Path) -> list[Span]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def ancestors(file: Path, span: Span) -> list[str]:
    by_id = {each["id"]: each for each in spans(file)}
    found = []
    while span and span["parent"]:
        found.append(span["parent"])
        span = by_id.get(span["parent"], {})
    return found
