"""What Prometheus is told of the store, which is asked at each scrape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from celery_defer import guard
from celery_defer.current import extension_of
from celery_defer.store import Depth, RunState, Store

# By the field of ``Depth``.
_DEPTH = {
    "records": ("outbox_records", "Records in the outbox, parked runs too"),
    "due": ("outbox_due_records", "Records whose time has come"),
    "late": ("outbox_oldest_due_seconds", "For how long the first of them has been due"),
    "quarantined": ("quarantined_records", "Records in quarantine"),
}


class Gauges(Collector):
    """The gauges of one app's store; a scrape reads indexes, and no record."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def register(self, registries: Iterable[CollectorRegistry]) -> None:
        """Show the gauges in these registries."""
        for registry in registries:
            registry.register(self)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return the gauges without values: a registry asks when an app is made."""
        return [_up(), *_of_depth(None), _parked({})]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges; of a store that does not reply, only that."""
        extension = extension_of(self._app)
        store: Store | None = guard.attempt(lambda: extension.store)
        found = guard.attempt(lambda: _ask(store, extension.clock())) if store else None
        yield _up(found is not None)
        if found is not None:
            depth, parked = found
            yield from _of_depth(depth)
            # What was skipped may be no task, and have any name: it has never parked.
            known = self._app.tasks
            yield _parked({task: n for task, n in parked.items() if n or task in known})


def _ask(store: Store, now: float) -> tuple[Depth, Mapping[str, int]]:
    """Return how much is in the outbox, and how many runs of each task are parked.

    The store has a list of the waiting runs of each task, for the record; counting is one command.
    """
    tasks = store.tasks()
    counts = store.counts(tasks, [RunState.WAITING])
    return store.depth(now), dict(zip(tasks, counts, strict=True))


def _up(is_up: bool | None = None) -> GaugeMetricFamily:
    return GaugeMetricFamily("celery_defer_store_up", "Whether the store replies", is_up)


def _of_depth(depth: Depth | None) -> list[GaugeMetricFamily]:
    return [
        GaugeMetricFamily(f"celery_defer_{name}", text, getattr(depth, field, None))
        for field, (name, text) in _DEPTH.items()
    ]


def _parked(counts: Mapping[str, int]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily("celery_defer_parked_runs", "Runs that wait", labels=["task"])
    for task, count in counts.items():
        gauge.add_metric([task], count)
    return gauge
