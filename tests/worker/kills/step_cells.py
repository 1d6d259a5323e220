"""The cells of the kill table for runs with steps: who is killed where, and what must be seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.worker.kills.cells import COLUMNS, Column

__all__ = ["STEP_CELLS", "STEP_COLUMNS", "STEP_POINTS", "StepCell", "StepSeen", "expected_of_steps"]

_NAMES = {
    *("early ack", "`acks_late`", "+ `reject_on_worker_lost`", "`ignore_result`"),
    *("threads, `acks_late`", "RabbitMQ, early ack", "RabbitMQ, `acks_late`, `reject`"),
    "RabbitMQ, threads, early ack",
}
STEP_COLUMNS = tuple(column for column in COLUMNS if column.name in _NAMES)

#: Each point (see points.py), in the order in which a run comes by, and as the table calls it.
STEP_POINTS = {
    "step-body": "in the function of a step",
    "step-unkept": "it has answered, its memo is not kept",
    "step-kept": "its memo is kept",
    "unparked": "the run is about to park",
    "parked": "it is parked, its message not acknowledged",
    "relay-taken": "the relay has taken the parked run",
    "relay-published": "the relay has published it, its record is there",
    "event-emitted": "an event has reached the run, its sender has not published it",
    "event-published": "its sender has published it, its record is there",
    "resumed-body": "in the resumed body",
    "resumed-after": "the body has completed, its result is not stored",
    "resumed-stored": "its result is stored",
}
#: These run with every test run: where most can go wrong.
_CORE = {
    ("early ack", "parked", "worker"),
    ("early ack", "relay-taken", "worker"),
    ("`ignore_result`", "event-emitted", "child"),
    ("+ `reject_on_worker_lost`", "step-unkept", "child"),
    ("+ `reject_on_worker_lost`", "parked", "child"),
    ("+ `reject_on_worker_lost`", "resumed-body", "child"),
    ("threads, `acks_late`", "event-published", "worker"),
    ("RabbitMQ, `acks_late`, `reject`", "step-kept", "child"),
    ("RabbitMQ, `acks_late`, `reject`", "relay-published", "worker"),
}
_TIMES = {0: "lost", 1: "once", 2: "twice"}


@dataclass(frozen=True, slots=True)
class StepSeen:
    """What became of a run with two steps: how often they and its body completed.

    ``record`` is its state, as its record shows it; nothing if there is none.
    """

    state: str
    first: int
    second: int
    completed: int
    is_parked: bool = False
    record: str = ""

    def __str__(self) -> str:
        text = _TIMES[self.completed]
        if self.is_parked:
            return f"{text}; still parked"
        return f"{text}; its step twice" if (self.first, self.second) == (2, 1) else text


@dataclass(frozen=True, slots=True)
class StepCell:
    """A point, who dies there, and the worker's settings."""

    column: Column
    point: str
    who: str

    def __str__(self) -> str:
        return f"{self.column.name}-{self.point}-{self.who}".replace("`", "")

    @property
    def is_core(self) -> bool:
        return (self.column.name, self.point, self.who) in _CORE

    @property
    def awaits_event(self) -> bool:
        return self.point.startswith("event")

    @property
    def is_celerys(self) -> bool:
        """Whether it is Celery's own way with the run that it is not once (rule 5.5)."""
        return expected_of_steps(self).completed != 1


def expected_of_steps(cell: StepCell) -> StepSeen:
    """Return what must be seen: once where the run was parked, or Celery runs it again."""
    seen = _expected(cell)
    return replace(seen, record=_record(cell, seen))


def _record(cell: StepCell, seen: StepSeen) -> str:
    if not cell.column.ignores:
        states = {"SUCCESS": "succeeded", "FAILURE": "failed", "STARTED": "running"}
        return states.get(seen.state, "")
    if cell.point.startswith("resumed"):  # what Celery says of a lost child, or nothing
        return "failed" if cell.who == "child" else "running"
    return "succeeded" if seen.completed else ""


def _expected(cell: StepCell) -> StepSeen:
    column, again = cell.column, cell.column.runs_again(cell.who)
    success = "PENDING" if column.ignores else "SUCCESS"
    if cell.point == "resumed-stored":
        twice = column.is_late and cell.who == "worker" and not column.deduplicates
        return StepSeen(success, 1, 1, 1 + twice)
    done = int(cell.point == "resumed-after")
    if cell.point == "parked" or cell.point.startswith(("relay", "event")):
        return StepSeen(success, 1, 1, 1)
    if again:
        return StepSeen(success, 1 + (cell.point == "step-unkept"), 1, 1 + done)
    first = int(cell.point != "step-body")
    return StepSeen(_lost(cell), first, int(cell.point.startswith("resumed")), done)


def _lost(cell: StepCell) -> str:
    """What the backend says for ever of a run that Celery has lost."""
    if cell.column.ignores:
        return "PENDING"
    if cell.who == "child":
        return "FAILURE"
    return "STARTED" if cell.point.startswith("resumed") else "PENDING"


def _cells() -> Iterator[StepCell]:
    for column in STEP_COLUMNS:
        for point in STEP_POINTS:
            for who in ("child", "worker"):
                if who == "worker" or not (column.pool == "threads" or point.startswith("relay")):
                    yield StepCell(column, point, who)


STEP_CELLS = tuple(_cells())
