"""What a scrape of a real worker, and of Flower, shows: also of what the pool's processes count."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen
from uuid import uuid4

import pytest
from celery import Celery
from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes import Process, wait_until
from tests.support.redis import free_port
from tests.worker.local import LocalWorker

APP = "tests.worker.metered"
TASK = "metered.receipt"


def scrape(url: str) -> dict[str, float]:
    """Return the values of a scrape, by name and labels; nothing if it fails."""
    try:
        with urlopen(url, timeout=5) as answer:
            text = answer.read().decode()
    except (URLError, ConnectionError, TimeoutError):
        return {}
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(values: dict[str, float], name: str, **labels: str) -> float | None:
    return values.get(f"celery_defer_{name}{sorted(labels.items())}")


@pytest.fixture(scope="module")
def env(redis_url: str) -> dict[str, str]:
    return {
        "CELERY_BROKER_URL": redis_url,
        "CELERY_RESULT_BACKEND": redis_url,
        "DEFER_TEST_QUEUE": f"metered-{uuid4().hex[:6]}",
    }


@pytest.fixture(scope="module")
def client(redis_url: str, env: dict[str, str]) -> Iterator[Any]:
    app = Celery("client", broker=redis_url, backend=redis_url, set_as_current=False)
    app.conf.task_default_queue = env["DEFER_TEST_QUEUE"]
    yield app
    app.close()


@contextmanager
def metered(
    env: dict[str, str], directory: Path | None, *options: str
) -> Iterator[tuple[str, LocalWorker]]:
    """Start a worker with two processes, which share a directory if one is given."""
    port = free_port()
    own = {**env, "DEFER_TEST_METRICS": str(port)}
    if directory is not None:
        own["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    worker = LocalWorker(env["DEFER_TEST_QUEUE"], "--concurrency", "2", *options, app=APP, env=own)
    try:
        worker.ready()
        url = f"http://127.0.0.1:{port}/metrics"
        wait_until(lambda: scrape(url), "the worker shows its metrics")
        yield url, worker
    finally:
        worker.teardown()


@pytest.fixture(scope="module")
def metrics(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the metrics of a worker whose processes share a directory."""
    with metered(env, tmp_path_factory.mktemp("counts")) as (url, _):
        yield url


def test_a_scrape_of_a_worker_has_what_all_its_processes_count(client: Any, metrics: str) -> None:
    results = [client.send_task("metered.order", [2]) for _ in range(6)]
    pids = {result.get(timeout=20)["pid"] for result in results}

    wait_until(
        lambda: of(scrape(metrics), "runs_woken_total", task=TASK) == 12,
        "all receipts are woken",
    )
    values = scrape(metrics)
    assert len(pids) == 2
    assert of(values, "calls_deferred_total", task=TASK) == 12
    assert of(values, "calls_published_total", task=TASK, by="run") == 12
    assert of(values, "calls_skipped_total", task=TASK, error="PayloadError") == 6
    assert of(values, "runs_parked_total", task=TASK, kind="sleep") == 12
    assert of(values, "wake_lateness_seconds_count") == 12
    assert (of(values, "relay_looks_total", outcome="done") or 0) > 0
    wait_until(lambda: of(scrape(metrics), "parked_runs", task=TASK) == 0, "all have gone on")


def test_a_scrape_has_no_series_twice_and_the_gauges_too(metrics: str) -> None:
    with urlopen(metrics, timeout=5) as answer:
        lines = answer.read().decode().splitlines()

    series = [line.rpartition(" ")[0] for line in lines if not line.startswith("#")]
    assert len(series) == len(set(series))
    assert "celery_defer_store_up" in series
    assert "celery_defer_outbox_records" in series


def test_a_worker_without_a_directory_warns_and_shows_what_its_relay_counts(
    env: dict[str, str],
) -> None:
    own = {**env, "DEFER_TEST_QUEUE": f"alone-{uuid4().hex[:6]}"}
    with metered(own, None) as (url, worker):
        wait_until(lambda: of(scrape(url), "relay_looks_total", outcome="done"), "it looks")

        assert "PROMETHEUS_MULTIPROC_DIR is not set" in worker.logs()


def test_a_pool_of_one_process_needs_no_directory(client: Any, env: dict[str, str]) -> None:
    own = {**env, "DEFER_TEST_QUEUE": f"threads-{uuid4().hex[:6]}"}
    with metered(own, None, "--pool", "threads") as (url, worker):
        client.send_task("metered.order", [2], queue=own["DEFER_TEST_QUEUE"]).get(timeout=20)

        wait_until(
            lambda: of(scrape(url), "calls_published_total", task=TASK, by="run") == 2,
            "two calls are counted",
        )
        assert "PROMETHEUS_MULTIPROC_DIR" not in worker.logs()


def test_flower_shows_the_gauges(env: dict[str, str]) -> None:
    port = free_port()
    command = [sys.executable, "-m", "celery", "-A", APP, "flower", f"--port={port}"]
    with Process([*command, "--address=127.0.0.1"], env=env):
        url = f"http://127.0.0.1:{port}/metrics"
        wait_until(lambda: scrape(url), "Flower shows metrics", 30)

        values = scrape(url)

    assert of(values, "store_up") == 1
    assert of(values, "outbox_records") is not None
