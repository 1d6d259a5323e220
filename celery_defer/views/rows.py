"""The rows of a run's record: what code, the command line and Flower show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from celery_defer.ids import RunId
from celery_defer.store import RunState

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run: a deferred run, a call that has none, or a parent.

    Times are in UTC; None if the moment has not come, or is not known. ``payload`` is what the run
    was called with, as JSON: its keyword arguments, and positional ones under ``"args"``; None if
    it is hidden, too large (16 KiB), or not known. ``reason`` says why it was skipped or has
    failed; ``refused`` is the payload of a skipped call, as text. ``attempts`` counts how often the
    run has
    been started by Celery, without its wake-ups.
    """

    id: RunId
    task: str
    state: RunState
    defer_id: str | None = None
    parent: RunId | None = None
    root: RunId | None = None
    payload: Any = None
    reason: str | None = None
    refused: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    attempts: int = 0
    deferred_at: datetime | None = None
    published_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def latency(self) -> float | None:
        """Seconds from the publication of the run to its start."""
        return _between(self.published_at, self.started_at)

    @property
    def duration(self) -> float | None:
        """Seconds from the start of the run to its end, with its waits."""
        return _between(self.started_at, self.finished_at)


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step of a run; ``kind`` is its method of ``step``.

    ``result`` is JSON, None if payloads are hidden or masked. ``tries`` counts what was tried so
    far; ``failure`` is the exception of the last one, as text.
    """

    id: str
    kind: str
    state: Literal["finished", "failed", "waiting"]
    tries: int = 1
    started_at: datetime | None = None
    finished_at: datetime | None = None
    result: Any = None
    failure: str | None = None

    @property
    def duration(self) -> float | None:
        """Seconds that the step has taken, or waited."""
        return _between(self.started_at, self.finished_at)


@dataclass(frozen=True, slots=True)
class WaitRow:
    """What a parked run waits for, since when, and until when at the latest.

    ``kind`` is ``"sleep"``, ``"event"``, ``"run"`` (an invoked run, ``child``) or ``"retry"``.
    """

    run: RunRow
    step: str
    kind: str
    since: datetime | None = None
    until: datetime | None = None
    event: str | None = None
    match: Mapping[str, Any] = field(default_factory=dict)
    child: RunId | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """All that is known of one run.

    ``defers`` are its calls in the order in which they were made, also those that were skipped or
    aborted; ``siblings`` are the other calls of its parent. ``steps`` are in the order in which
    they began.
    """

    run: RunRow
    parent: RunRow | None = None
    defers: Sequence[RunRow] = ()
    siblings: Sequence[RunRow] = ()
    steps: Sequence[StepRow] = ()
    waits_for: WaitRow | None = None


@dataclass(frozen=True, slots=True)
class RunTree:
    """A run, and the runs below it to any depth."""

    run: RunRow
    children: Sequence[RunTree] = ()

    def rows(self, depth: int = 0) -> Iterator[tuple[int, RunRow]]:
        """Yield each run with its depth, a run before those that it has deferred."""
        yield depth, self.run
        for child in self.children:
            yield from child.rows(depth + 1)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; ``next`` is the cursor of the next page, None at the end."""

    rows: Sequence[T]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A record of the outbox: ``"calls"`` of the run *id*, a ``"parked run"`` or an ``"event"``."""

    id: str
    kind: str
    task: str
    due: datetime | None
    tries: int
    calls: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """A record that could not be read or published, and why; ``calls`` are the ids of its calls."""

    id: str
    kind: str
    task: str
    reason: str
    calls: Sequence[str] = ()


def _between(start: datetime | None, end: datetime | None) -> float | None:
    return max((end - start).total_seconds(), 0.0) if start and end else None
