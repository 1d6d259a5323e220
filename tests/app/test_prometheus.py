"""Metrics for Prometheus: what is counted in a process, and what a scrape reads of the store."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.signals import worker_ready
from celery.utils.dispatch import Signal
from prometheus_client import CollectorRegistry

from celery_defer import (
    Concurrency,
    RateLimit,
    StoreError,
    Throttle,
    abort,
    cancel,
    defer,
    deferred,
    pause,
    score,
    step,
)
from celery_defer.outbox import cancel_run
from celery_defer.prometheus import install
from celery_defer.run import signals
from tests.support.held import SYNC, arrive, place
from tests.support.inside import WatchedStore, Worker, parent_of


@pytest.fixture(autouse=True)
def connections() -> Iterator[None]:
    """What a test has connected to signals is disconnected after it."""
    every = [each for each in vars(signals).values() if isinstance(each, Signal)]
    before = [(signal, list(signal.receivers)) for signal in [*every, worker_ready]]
    yield
    for signal, receivers in before:
        signal.receivers[:] = receivers


@pytest.fixture
def registry(app: Celery, store: WatchedStore) -> CollectorRegistry:
    return install(app, registry=CollectorRegistry())


@pytest.fixture
def value(registry: CollectorRegistry) -> Any:
    """Returns the value of a metric, by its name and labels; None if it has none."""
    return lambda name, **labels: registry.get_sample_value(f"celery_defer_{name}", labels)


@pytest.fixture
def napping(app: Celery) -> Any:
    @deferred
    @app.task(name="napping", shared=False)
    def napping() -> None:
        step.sleep("nap", 60)

    return napping


def test_calls_are_counted_by_their_task(
    app: Celery, worker: Worker, ship: Any, value: Any
) -> None:
    def body() -> None:
        for n in range(3):
            defer(f"ship-{n}", ship, n)

    worker.run(parent_of(app, body))

    assert value("calls_deferred_total", task="ship") == 3
    assert value("calls_published_total", task="ship", by="run") == 3


def test_a_skipped_call_is_counted_by_the_name_of_its_error(
    app: Celery, worker: Worker, ship: Any, value: Any
) -> None:
    worker.run(parent_of(app, lambda: defer("bad", ship, "seven").id))

    assert value("calls_skipped_total", task="ship", error="PayloadError") == 1


def test_no_text_of_a_call_becomes_a_label(
    app: Celery, worker: Worker, registry: CollectorRegistry, value: Any
) -> None:
    worker.run(parent_of(app, lambda: defer("a secret", "not a task: secret", "a secret").id))

    assert value("calls_skipped_total", task="unknown", error="NotDeferredError") == 1
    labels = [
        text for each in registry.collect() for s in each.samples for text in s.labels.values()
    ]
    assert not [text for text in labels if "secret" in text]


def test_what_a_relay_publishes_is_counted_apart(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any, value: Any
) -> None:
    store.away.add("settle")
    worker.run(parent_of(app, lambda: defer("ship", ship, 1).id))
    store.away.clear()

    worker.later(60)

    assert value("calls_published_total", task="ship", by="relay") == 1


def test_a_run_that_is_woken_late_is_observed(
    app: Celery, worker: Worker, napping: Any, value: Any
) -> None:
    worker.run(parent_of(app, lambda: defer("nap", napping).id))
    worker.drain()

    worker.wake(64)

    assert value("runs_parked_total", task="napping", kind="sleep") == 1
    assert value("runs_woken_total", task="napping") == 1
    assert value("wake_lateness_seconds_sum") == pytest.approx(4)
    assert value("wake_lateness_seconds_bucket", le="2.5") == 0
    assert value("wake_lateness_seconds_bucket", le="5.0") == 1


def test_aborted_runs_are_counted(app: Celery, value: Any) -> None:
    abort("parent", "ship", app=app)

    assert value("runs_aborted_total", state="ABORTED") == 1


def test_the_gauges_are_those_of_the_store(
    app: Celery, worker: Worker, napping: Any, value: Any
) -> None:
    worker.run(parent_of(app, lambda: defer("nap", napping).id))
    worker.drain()
    worker.now += 75

    assert value("store_up") == 1
    assert value("outbox_records") == 1
    assert value("outbox_due_records") == 1
    assert value("outbox_oldest_due_seconds") == pytest.approx(15)
    assert value("quarantined_records") == 0


def test_parked_runs_are_counted_by_task(
    app: Celery, worker: Worker, napping: Any, ship: Any, value: Any
) -> None:
    def body() -> None:
        defer("ship", ship, 1)
        for n in range(3):
            defer(f"nap-{n}", napping)

    worker.run(parent_of(app, body))
    worker.drain()
    assert value("parked_runs", task="napping") == 3
    assert not value("parked_runs", task="ship")

    worker.wake(60)

    assert value("parked_runs", task="napping") == 0


@pytest.mark.parametrize("end", ["cancel", "abort", "revoke", "lost"])
def test_a_parked_run_that_ends_early_is_parked_no_more(
    end: str, app: Celery, worker: Worker, store: WatchedStore, napping: Any, value: Any
) -> None:
    parent = worker.run(parent_of(app, lambda: defer("nap", napping).id))
    worker.drain()
    assert value("parked_runs", task="napping") == 1

    if end == "cancel":
        cancel(parent.result, app=app)
    elif end == "abort":
        abort(parent.id, "nap", app=app)
    elif end == "revoke":
        cancel_run(app, app._celery_defer.store, parent.result, only_parked=True)
    else:
        store.quarantine(parent.result, store._store._outbox[parent.result].token, "bad", 60)
        store.stage(parent.result, "token", b"P\x01bad", worker.now, 60)
        worker.later(1)

    assert value("parked_runs", task="napping") == 0


@pytest.fixture
def sync(app: Celery) -> Any:
    @deferred(app, name=SYNC, concurrency=Concurrency(1, key="customer"))
    def sync(customer: int) -> None: ...

    return sync


def test_held_runs_and_places_are_counted_by_task(
    app: Celery, store: WatchedStore, sync: Any, value: Any
) -> None:
    assert value("held_runs", task=SYNC) == 0

    for n in range(3):
        arrive(store._store, f"run-{n}", place("7"))
    arrive(store._store, "other", place("8"))

    assert value("held_runs", task=SYNC) == 2
    assert value("places_in_use", task=SYNC, limit="concurrency") == 2


def test_what_limits_hold_back_and_drop_is_counted(app: Celery, worker: Worker, value: Any) -> None:
    @deferred(app, name="paced", throttle=Throttle(1, "1h"))
    def paced() -> None: ...

    @deferred(app, name="rated", rate_limit=RateLimit(1, "1h"))
    def rated() -> None: ...

    def body() -> None:
        for n in range(3):
            defer(f"paced-{n}", paced)
            defer(f"rated-{n}", rated)

    worker.run(parent_of(app, body))
    worker.drain()

    assert value("runs_held_total", task="paced", limit="throttle") == 2
    assert value("runs_dropped_total", task="rated", limit="rate_limit") == 2
    assert value("held_runs", task="paced") == 2


def test_a_paused_task_is_shown(app: Celery, store: WatchedStore, sync: Any, value: Any) -> None:
    assert value("paused", task=SYNC) == 0

    pause(sync, app=app)

    assert value("paused", task=SYNC) == 1


def test_a_scrape_reads_no_record(app: Celery, store: WatchedStore, value: Any) -> None:
    store.asked.clear()

    value("store_up")

    assert store.asked == ["tasks", "counts", "depth"]


def test_a_scrape_while_the_store_is_away_says_so_and_no_more(
    store: WatchedStore, registry: CollectorRegistry, value: Any
) -> None:
    store.away.add("depth")

    assert value("store_up") == 0
    assert "celery_defer_outbox_records" not in [each.name for each in registry.collect()]


def test_nothing_is_asked_of_the_store_when_the_app_is_made(app: Celery) -> None:
    app._celery_defer.store = store = WatchedStore()

    install(app, registry=CollectorRegistry(auto_describe=True))

    assert store.asked == []


def test_a_registry_takes_the_metrics_once(app: Celery, registry: CollectorRegistry) -> None:
    with pytest.raises(ValueError, match="Duplicated"):
        install(app, registry=registry)


def test_an_app_without_a_defer_is_refused() -> None:
    with pytest.raises(StoreError, match="has no Defer"):
        install(Celery(set_as_current=False), registry=CollectorRegistry())


def test_the_package_alone_does_not_import_an_extra() -> None:
    extras = ["prometheus_client", "celery_defer.prometheus", "celery_defer.opentelemetry"]
    code = "import sys, celery_defer.testing, celery_defer.signals; print(*sys.modules)"

    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    assert not set(extras) & set(loaded)


def test_scores_are_counted_by_the_task_of_their_run(
    app: Celery, worker: Worker, registry: CollectorRegistry
) -> None:
    task = parent_of(app, lambda: score("tone", 1))
    for _ in range(2):
        worker.perform(task)
    score("thumb", True, run_id="elsewhere")

    for labels, count in (((task.name, "tone"), 2), (("unknown", "thumb"), 1)):
        known = dict(zip(("task", "name"), labels, strict=True))
        assert registry.get_sample_value("celery_defer_scores_total", known) == count
