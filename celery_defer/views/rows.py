"""The rows of a run's record: what code, the command line and Flower show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from celery_defer.ids import RunId
from celery_defer.store import RunState, ScoreRow

T = TypeVar("T")

#: The states that a list of runs can be filtered by: of one that is unknown nothing is listed.
STATES = tuple(state for state in RunState if state is not RunState.UNKNOWN)

#: What a run may wait for.
KINDS = ("sleep", "event", "run", "retry", "restart", "limit")


@dataclass(frozen=True, slots=True)
class LineRow:
    """Where a run stands that a limit of its function holds back."""

    limit: str  #: The limit: ``"concurrency"``, say; ``"pause"`` if its task is paused.
    #: The value of the limit's key, as JSON; "" for a limit without one.
    key: str = ""
    place: int = 0  #: Its place in line, from 1; 0 if it is not known.
    since: datetime | None = None  #: When it was held back, in UTC.


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run: a deferred run, a call that has none, or a parent.

    Times are in UTC; None if the moment has not come, or is not known.
    """

    id: RunId  #: Its task id.
    task: str  #: The name of its task.
    state: RunState  #: What has become of it.
    defer_id: str | None = None  #: The name of the call; None for a run that was not deferred.
    parent: RunId | None = None  #: The id of the run that has deferred it.
    root: RunId | None = None  #: The id of the first run of its tree.
    #: What it was called with, as JSON: its keyword arguments, and positional ones under
    #: ``"args"``; None if it is hidden, too large (16 KiB), or not known.
    payload: Any = None
    #: Why it was skipped, dropped, aborted, replaced, batched or quarantined, or has failed.
    reason: str | None = None
    #: The payload of a skipped call, in the form of ``payload``; as text where it has no JSON, or
    #: more than 1,024 characters.
    refused: Any = None
    tags: Mapping[str, str] = field(default_factory=dict)  #: Its own, and those handed down to it.
    #: How often Celery has started it, without its wake-ups. Of a run that was restarted, this and
    #: ``started_at`` count from the restart; ``published_at`` is the time of the restart.
    attempts: int = 0
    deferred_at: datetime | None = None  #: When ``defer`` was called.
    published_at: datetime | None = None  #: When its message went to the broker.
    started_at: datetime | None = None  #: When a worker began it.
    finished_at: datetime | None = None  #: When it ended.
    #: The earliest start that its ``eta`` or ``countdown`` allows; None if it has neither, or if
    #: its ``countdown`` has not begun.
    starts_at: datetime | None = None
    #: The variant that was taken in each experiment, by the run or by a run above it.
    experiments: Mapping[str, str] = field(default_factory=dict)
    held: LineRow | None = None  #: Where it stands in line; None if no limit holds it back.
    #: The run that runs in its place, or because of which a limit has skipped it.
    by: RunId | None = None
    batch: RunId | None = None  #: The run of the batch that its payload is in.

    @property
    def latency(self) -> float | None:
        """Seconds from the publication of the run, or from its ``starts_at``, to its start."""
        due = self.published_at and max(self.published_at, self.starts_at or self.published_at)
        return _between(due, self.started_at)

    @property
    def duration(self) -> float | None:
        """Seconds from the start of the run to its end, with its waits."""
        return _between(self.started_at, self.finished_at)


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step of a run."""

    id: str  #: Its id, numbered where it was repeated.
    kind: str  #: Its method of ``step``.
    #: What has become of it; ``"cancelled"`` if its run was cancelled or revoked as it waited.
    state: Literal["finished", "failed", "waiting", "cancelled"]
    tries: int = 1  #: How often it was tried so far.
    started_at: datetime | None = None  #: When it began, or its first try, in UTC.
    finished_at: datetime | None = None  #: When it ended, in UTC.
    result: Any = None  #: What it has returned, as JSON; None if payloads are hidden or masked.
    failure: str | None = None  #: The exception of the last try, as text.
    #: The variants in which it was, by experiment: those in whose function it was called.
    experiments: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def duration(self) -> float | None:
        """Seconds that the step has taken, or waited, with the time between its tries."""
        return _between(self.started_at, self.finished_at)


@dataclass(frozen=True, slots=True)
class WaitRow:
    """What a run waits for, since when, and until when at the latest."""

    run: RunRow  #: The run that waits.
    step: str  #: The id of the step; "" for a limit.
    #: ``"sleep"``, ``"event"``, ``"run"`` (invoked), ``"retry"``, ``"restart"``, or ``"limit"``:
    #: then ``run.held`` says which.
    kind: str
    since: datetime | None = None  #: When the wait began, in UTC.
    until: datetime | None = None  #: When it is over at the latest, in UTC.
    event: str | None = None  #: The name of the event.
    match: Mapping[str, Any] = field(default_factory=dict)  #: What its data must have, by path.
    child: RunId | None = None  #: The id of the invoked run.


@dataclass(frozen=True, slots=True)
class RunRecord:
    """All that is known of one run."""

    run: RunRow  #: The run itself.
    parent: RunRow | None = None  #: The run that has deferred it.
    #: Its calls in the order in which they were made, also those that have no run: skipped,
    #: aborted or dropped ones.
    defers: Sequence[RunRow] = ()
    siblings: Sequence[RunRow] = ()  #: The other calls of its parent.
    steps: Sequence[StepRow] = ()  #: Its steps, in the order in which they began.
    waits_for: WaitRow | None = None  #: What it waits for; None if it does not wait.
    scores: Sequence[ScoreRow] = ()  #: The last score of each name, of the run and of its steps.
    #: Of the run of a batch: the calls whose payloads it has, in their order; the first thousand.
    calls: Sequence[RunRow] = ()


@dataclass(frozen=True, slots=True)
class RunTree:
    """A run, and the runs below it to any depth."""

    run: RunRow  #: The run at the top.
    children: Sequence[RunTree] = ()  #: The trees of the runs that it has deferred, in order.
    waits_for: WaitRow | None = None  #: What it waits for; None if it does not wait.

    def rows(self) -> Iterator[tuple[int, RunRow]]:
        """Yield each run with its depth, a run before those that it has deferred."""
        for depth, tree in self.trees():
            yield depth, tree.run

    def trees(self, depth: int = 0) -> Iterator[tuple[int, RunTree]]:
        """Yield this tree and those below it, each with its depth, in the order of ``rows``."""
        yield depth, self
        for child in self.children:
            yield from child.trees(depth + 1)


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One limit of a task as it is in force, over all its keys, and its use."""

    name: str
    limit: int
    period: float
    burst: int
    #: The numbers among these that were set from outside.
    override: Mapping[str, float] = field(default_factory=dict)
    running: int = 0
    #: For how many keys runs wait.
    lines: int = 0


@dataclass(frozen=True, slots=True)
class FlowRow:
    """The limits of a task, and how many of its runs they hold back."""

    task: str
    is_paused: bool = False
    held: int = 0
    limits: Sequence[LimitRow] = ()


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; ``next`` is the cursor of the next page, None at the end."""

    rows: Sequence[T]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A record of the outbox: its kind is ``calls``, ``batch``, ``parked run`` or ``event``."""

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
