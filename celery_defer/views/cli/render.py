"""Rows as tables, fields and lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from celery_defer.store import RunState
from celery_defer.views import words
from celery_defer.views.cli import numbers
from celery_defer.views.cli.table import Fields, Table, branches, joined
from celery_defer.views.rows import (
    OutboxRow,
    QuarantineRow,
    RunRecord,
    RunRow,
    RunTree,
    StepRow,
    WaitRow,
)

_REASON, _RESULT = 60, 40
# The states whose number is shown even if it is 0.
_WATCHED = frozenset(
    {
        RunState.BUFFERED, RunState.RUNNING, RunState.WAITING, RunState.FAILED,
        RunState.QUARANTINED,
    }
)  # fmt: skip


def runs(rows: Sequence[RunRow], now: datetime) -> Table:
    """Return a list of runs, as it comes."""
    is_limited = any(row.held or row.by or row.batch for row in rows)
    return Table(
        ("run", "task", "defer id", "state", "deferred", "took",
         *(["held or replaced by"] if is_limited else []), "tags"),
        [
            (
                row.id, row.task, row.defer_id or words.NOTHING, row.state.value,
                words.ago(row.deferred_at or row.started_at, now), words.duration(row.duration),
                *([words.by(row)] if is_limited else []), words.pairs(row.tags),
            )
            for row in rows
        ],
        apart=("run", "task"),
    )  # fmt: skip


def counts(of: Mapping[tuple[RunState, str], int]) -> Table:
    """Return how many runs of each task are in each state, and of all tasks."""
    found = {state for state, _ in of}
    states = [state for state in RunState if state in _WATCHED or state in found]
    tasks = sorted({task for _, task in of})
    totals = [sum(of.get((state, task), 0) for task in tasks) for state in states]
    return Table(
        ("task", *(state.value for state in states)),
        [
            *((task, *(str(of.get((state, task), "")) for state in states)) for task in tasks),
            ("all tasks", *map(str, totals)),
        ],
    )


def tree(of: RunTree, now: datetime, width: int | None = None) -> list[tuple[str, str, str]]:
    """Return the lines of a tree, each divided before and after the state of its run.

    Reasons have at most *width* characters; None is for all of them.
    """
    trees = list(of.trees())
    starts = branches([depth for depth, _ in trees])
    return [
        _branch(start, each, now, width) for start, (_, each) in zip(starts, trees, strict=True)
    ]


def record(of: RunRecord, now: datetime) -> Iterator[tuple[str, Table | Fields]]:
    """Yield the parts of a run's record, each with its title."""
    yield "", _fields(of, now)
    if of.steps:
        yield "steps", _steps(of.steps)
    if of.defers:
        yield "defers", _calls(of.defers)
    if of.calls:
        yield "calls of the batch", _batch(of.calls)
    if of.scores:
        yield "scores", numbers.scores_of_run(of.scores, now)
    if of.siblings:
        yield "siblings", _calls(of.siblings)


def waiting(rows: Sequence[WaitRow], now: datetime) -> Table:
    """Return what runs wait for."""
    return Table(
        ("run", "task", "step", "waits for", "since", "until"),
        [
            (
                row.run.id, row.run.task, row.step or words.NOTHING, words.wait(row),
                words.ago(row.since, now), words.ago(row.until, now),
            )
            for row in rows
        ],
        apart=("run", "task"),
    )  # fmt: skip


def outbox(rows: Sequence[OutboxRow], now: datetime) -> Table:
    """Return the records of the outbox."""
    return Table(
        ("record", "kind", "task", "due", "tries", "calls"),
        [
            (
                row.id, row.kind, row.task, words.ago(row.due, now), str(row.tries),
                words.cut(", ".join(row.calls), _REASON),
            )
            for row in rows
        ],
        apart=("record", "task"),
    )  # fmt: skip


def quarantine(rows: Sequence[QuarantineRow]) -> Table:
    """Return the records in quarantine, each with the reason."""
    return Table(
        ("record", "kind", "task", "reason"),
        [(row.id, row.kind, row.task, row.reason) for row in rows],
        apart=("record", "task"),
    )


def _branch(start: str, of: RunTree, now: datetime, width: int | None) -> tuple[str, str, str]:
    row = of.run
    name = f"{row.defer_id}: {row.task}" if row.defer_id else row.task
    took = "" if row.duration is None else words.duration(row.duration)
    why = row.reason or words.waits(of.waits_for, now) or words.starts(row, now)
    why = words.cut(why, width) if width else words.line(why)
    return f"{start}{name}  ", row.state.value, f"  {joined((took, row.id, why))}"


def _fields(of: RunRecord, now: datetime) -> Fields:
    row = of.run
    defer = f"{row.defer_id} of run {row.parent}" if row.defer_id else row.parent
    parent = f" ({of.parent.task})" if of.parent else ""
    return Fields(
        [
            ("run", row.id),
            ("task", row.task),
            ("state", row.state.value),
            ("waits for", _waits_for(of.waits_for, now)),
            ("reason", row.reason or ""),
            ("deferred as", f"{defer}{parent}" if defer else ""),
            ("root", row.root or ""),
            ("batch", row.batch or ""),
            ("variants", words.pairs(row.experiments)),
            ("tags", words.pairs(row.tags)),
            ("payload", words.payload(row.payload, 500) if row.payload is not None else ""),
            ("refused", words.text(row.refused, 500)),
            ("attempts", str(row.attempts) if row.attempts else ""),
            ("deferred", _at(row.deferred_at, now)),
            ("published", _at(row.published_at, now)),
            ("starts at", "" if row.started_at else _at(row.starts_at, now)),
            ("started", _after(_at(row.started_at, now), row.latency, f"after it was {_due(row)}")),
            ("finished", _after(_at(row.finished_at, now), row.duration, "after it started")),
        ]
    )


def _due(row: RunRow) -> str:
    return "due" if row.starts_at else "published"


def _waits_for(row: WaitRow | None, now: datetime) -> str:
    if row is None:
        return ""
    until = f", until {_at(row.until, now)}" if row.until else ""
    step = f", at step {row.step!r}" if row.step else ""
    since = f", since {_at(row.since, now)}" if not row.step and row.since else ""
    return f"{words.wait(row)}{step}{since}{until}"


def _at(at: datetime | None, now: datetime) -> str:
    return f"{words.moment(at)} ({words.ago(at, now)})" if at else ""


def _after(text: str, seconds: float | None, what: str) -> str:
    return text if seconds is None else f"{text}, {words.duration(seconds)} {what}"


def _steps(rows: Sequence[StepRow]) -> Table:
    return Table(
        ("step", "kind", "state", "tries", "took", "result"),
        [
            (
                row.id, row.kind, row.state, str(row.tries), words.duration(row.duration),
                words.payload(row.failure or row.result, _RESULT),
            )
            for row in rows
        ],
    )  # fmt: skip


def _batch(rows: Sequence[RunRow]) -> Table:
    return Table(
        ("defer id", "run", "parent", "payload"),
        [
            (
                row.defer_id or words.NOTHING, row.id, row.parent or words.NOTHING,
                words.payload(row.payload, _RESULT),
            )
            for row in rows
        ],
        apart=("run", "parent"),
    )  # fmt: skip


def _calls(rows: Sequence[RunRow]) -> Table:
    return Table(
        ("defer id", "task", "state", "run", "latency", "took", "reason"),
        [
            (
                row.defer_id or words.NOTHING, row.task, row.state.value, row.id,
                words.duration(row.latency), words.duration(row.duration),
                words.cut(row.reason or "", _REASON),
            )
            for row in rows
        ],
        apart=("run", "task"),
    )  # fmt: skip
