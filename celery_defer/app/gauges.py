"""What Prometheus is told of the store, which is asked at each scrape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from celery_defer import guard
from celery_defer.app.limits import with_limits
from celery_defer.current import extension_of
from celery_defer.flow import Kind
from celery_defer.store import Depth, FlowState, RunState, Store

# By the field of ``Depth``.
_DEPTH = {
    "records": ("outbox_records", "Records in the outbox, parked runs too"),
    "due": ("outbox_due_records", "Records whose time has come"),
    "late": ("outbox_oldest_due_seconds", "For how long the first of them has been due"),
    "quarantined": ("quarantined_records", "Records in quarantine"),
}


@dataclass(frozen=True, slots=True)
class _Found:
    """What a store has replied: of the runs of each task, how many are parked."""

    depth: Depth
    parked: Mapping[str, int]
    flow: Sequence[FlowState]


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
        return [_up(), *_of_depth(None), _parked({}), *_of_flow(())]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges; of a store that does not reply, only that."""
        extension = extension_of(self._app)
        store: Store | None = guard.attempt(lambda: extension.store)
        found = guard.attempt(lambda: _ask(self._app, store, extension.clock())) if store else None
        yield _up(found is not None)
        if found is not None:
            yield from _of_depth(found.depth)
            # What was skipped may be no task, and have any name: it has never parked.
            known = self._app.tasks
            yield _parked({task: n for task, n in found.parked.items() if n or task in known})
            yield from _of_flow(found.flow)


def _ask(app: Any, store: Store, now: float) -> _Found:
    """Ask for what the gauges show.

    The store has a list of the waiting runs of each task, for the record; counting is one command.
    """
    tasks, limited = store.tasks(), with_limits(app)
    counts = store.counts(tasks, [RunState.WAITING])
    flow = store.flow(limited) if limited else ()
    return _Found(store.depth(now), dict(zip(tasks, counts, strict=True)), flow)


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


def _of_flow(states: Iterable[FlowState]) -> list[GaugeMetricFamily]:
    held = GaugeMetricFamily(
        "celery_defer_held_runs", "Runs that limits hold back", labels=["task"]
    )
    places = GaugeMetricFamily(
        "celery_defer_places_in_use", "Runs that have a place", labels=["task", "limit"]
    )
    paused = GaugeMetricFamily(
        "celery_defer_paused", "Whether a task with limits is paused", labels=["task"]
    )
    for state in states:
        held.add_metric([state.task], state.held)
        paused.add_metric([state.task], state.is_paused)
        for limit in state.limits:
            if limit.name.startswith(Kind.CONCURRENCY.value):
                places.add_metric([state.task, limit.name], limit.running)
    return [held, places, paused]
