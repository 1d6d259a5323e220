"""What this process counts for Prometheus, by the signals of the package."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from celery_defer.run import signals

# In seconds: a relay looks every second, and what is late by minutes is an outage.
_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1_800.0, 7_200.0)


class Counters:
    """The counters of one app; a *registry* of None is that of a multiprocess directory."""

    def __init__(self, app: Any, registry: CollectorRegistry | None) -> None:
        self._app = app

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"celery_defer_{name}", text, labels, registry=registry)

        self._deferred = counter("calls_deferred", "Calls that defer has accepted", "task")
        self._published = counter(
            "calls_published", "Calls whose message is at the broker", "task", "by"
        )
        self._skipped = counter("calls_skipped", "Calls that have no run", "task", "error")
        self._parked = counter("runs_parked", "How often runs have begun to wait", "task", "kind")
        self._woken = counter(
            "runs_woken", "Wake-ups that are at the broker, also of restarts", "task"
        )
        self._held = counter("runs_held", "How often limits have held runs back", "task", "limit")
        self._dropped = counter("runs_dropped", "Runs that a limit has dropped", "task", "limit")
        self._aborted = counter("runs_aborted", "Runs that were aborted or cancelled", "state")
        self._scores = counter("scores", "Scores that were written", "task", "name")
        self._looks = counter("relay_looks", "Looks of relays for records", "outcome")
        self._records = counter("relay_records", "Records that relays have leased")
        self._errors = counter("relay_errors", "Records with which a relay met an error")
        self._late = Histogram(
            "celery_defer_wake_lateness_seconds",
            "From the time when a wait was over to the message that wakes the run",
            buckets=_BUCKETS,
            registry=registry,
        )

    def connect(self) -> None:
        """Count from now on."""
        signals.call_deferred.connect(self._on_deferred, weak=False)
        signals.call_skipped.connect(self._on_skipped, weak=False)
        signals.calls_published.connect(self._on_published, weak=False)
        signals.run_parked.connect(self._on_parked, weak=False)
        signals.run_woken.connect(self._on_woken, weak=False)
        signals.run_held.connect(self._on_held, weak=False)
        signals.run_dropped.connect(self._on_dropped, weak=False)
        signals.run_aborted.connect(self._on_aborted, weak=False)
        signals.score_recorded.connect(self._on_scored, weak=False)
        signals.relay_looked.connect(self._on_looked, weak=False)
        signals.record_failed.connect(self._on_record_failed, weak=False)

    def _on_deferred(self, task: str, **_: Any) -> None:
        self._deferred.labels(self._name(task)).inc()

    def _on_skipped(self, task: str, error: str, **_: Any) -> None:
        self._skipped.labels(self._name(task), error).inc()

    def _on_published(
        self, calls: Iterable[signals.PublishedCall], is_relayed: bool, **_: Any
    ) -> None:
        for call in calls:
            self._published.labels(self._name(call.task), "relay" if is_relayed else "run").inc()

    def _on_parked(self, task: str, kind: str, **_: Any) -> None:
        self._parked.labels(self._name(task), kind).inc()

    def _on_woken(self, task: str, late: float | None, **_: Any) -> None:
        self._woken.labels(self._name(task)).inc()
        if late is not None:
            self._late.observe(late)

    def _on_held(self, task: str, limit: str, **_: Any) -> None:
        self._held.labels(self._name(task), limit).inc()

    def _on_dropped(self, task: str, limit: str, **_: Any) -> None:
        self._dropped.labels(self._name(task), limit).inc()

    def _on_aborted(self, state: str, **_: Any) -> None:
        self._aborted.labels(state).inc()

    def _on_scored(self, task: str | None, name: str, **_: Any) -> None:
        self._scores.labels(self._name(task or ""), name).inc()

    def _on_looked(self, outcome: str, records: int, **_: Any) -> None:
        self._looks.labels(outcome).inc()
        self._records.inc(records)

    def _on_record_failed(self, **_: Any) -> None:
        self._errors.inc()

    def _name(self, task: str) -> str:
        """Return a task's name; what was deferred may be no task at all, and have any name."""
        return task if task in self._app.tasks else "unknown"
