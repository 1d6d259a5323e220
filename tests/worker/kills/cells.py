"""The cells of the kill table: who is killed where, under which settings, and what must be seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = ["CELLS", "COLUMNS", "EARLY", "POINTS", "Cell", "Column", "Seen", "expected"]

LATE = {"task_acks_late": True}
REJECT = {**LATE, "task_reject_on_worker_lost": True}
DEDUPLICATE = {**REJECT, "worker_deduplicate_successful_tasks": True}
IGNORE = {"task_ignore_result": True}
# kombu then makes no pipeline, so each message leaves by itself; and the store is, as far as the
# package can tell, apart from broker and results.
ONE_BY_ONE = {
    **REJECT,
    "broker_transport_options": {"retry_on_timeout": True},
    "defer_store_url": "apart",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A worker's settings."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict, hash=False)
    broker: str = "Redis"
    pool: str = "prefork"
    commit: str = "result"

    @property
    def rides(self) -> bool:
        """Whether messages go with the result, in one transaction; else they are staged before."""
        return self.commit == "result" and self.broker == "Redis" and not self.ignores

    @property
    def is_late(self) -> bool:
        return "task_acks_late" in self.settings

    @property
    def rejects(self) -> bool:
        return "task_reject_on_worker_lost" in self.settings

    @property
    def deduplicates(self) -> bool:
        return "worker_deduplicate_successful_tasks" in self.settings

    @property
    def ignores(self) -> bool:
        return "task_ignore_result" in self.settings

    def runs_again(self, who: str) -> bool:
        """Whether Celery runs a run once more that was killed before its result was stored."""
        return self.is_late and (who == "worker" or self.rejects)


EARLY = Column("early ack")
COLUMNS = (
    EARLY,
    Column("`acks_late`", LATE),
    Column("+ `reject_on_worker_lost`", REJECT),
    Column("+ `deduplicate`", DEDUPLICATE),
    Column("`ignore_result`", IGNORE),
    Column("threads, `acks_late`", LATE, pool="threads"),
    Column("signal, early ack", commit="signal"),
    Column("signal, `acks_late`", LATE, commit="signal"),
    Column("signal, + `reject_on_worker_lost`", REJECT, commit="signal"),
    Column("signal, + `deduplicate`", DEDUPLICATE, commit="signal"),
    Column("signal, threads, `acks_late`", LATE, pool="threads", commit="signal"),
    Column("signal, one by one, `acks_late`, `reject`", ONE_BY_ONE, commit="signal"),
    Column("RabbitMQ, early ack", broker="RabbitMQ"),
    Column("RabbitMQ, `acks_late`, `reject`", REJECT, broker="RabbitMQ"),
    Column("RabbitMQ, + `deduplicate`", DEDUPLICATE, broker="RabbitMQ"),
    Column("RabbitMQ, `ignore_result`", IGNORE, broker="RabbitMQ"),
    Column("RabbitMQ, threads, early ack", broker="RabbitMQ", pool="threads"),
)

#: Each point (see points.py), in the order in which a run comes by, and as the table calls it.
POINTS = {
    "body": "in the parent's body",
    "staged": "its body has returned, its result is not stored",
    "stored": "SUCCESS is stored, nothing is published",
    "middle": "in the middle of publishing",
    "published": "all is published, the record is there",
    "cleared": "the record is removed, the parent not acknowledged",
    "relay-taken": "the relay has taken the record",
    "relay-middle": "the relay is in the middle of publishing",
    "relay-published": "the relay has published, the record is there",
    "deferred-before": "a deferred run is claimed, its body has not begun",
    "deferred-body": "in the body of a deferred run",
    "deferred-after": "its body has completed, its result is not stored",
    "deferred-stored": "its result is stored",
}
_LATE_POINTS = {
    ("body", "child"),
    ("staged", "child"),
    ("stored", "child"),
    ("stored", "worker"),
    ("cleared", "child"),
    ("cleared", "worker"),
    ("relay-published", "worker"),
    ("deferred-body", "child"),
    ("deferred-after", "child"),
    ("deferred-stored", "worker"),
}
# Workers that differ only before the result is stored, or only after, need not die everywhere.
_POINTS_OF = {
    "`acks_late`": _LATE_POINTS,
    "signal, `acks_late`": _LATE_POINTS,
    "RabbitMQ, + `deduplicate`": {
        ("staged", "worker"),
        ("stored", "child"),
        ("stored", "worker"),
        ("published", "worker"),
        ("cleared", "worker"),
        ("deferred-after", "worker"),
        ("deferred-stored", "worker"),
    },
    "RabbitMQ, `ignore_result`": {
        ("body", "child"),
        ("staged", "child"),
        ("staged", "worker"),
        ("stored", "worker"),
        ("middle", "child"),
        ("published", "worker"),
        ("relay-middle", "worker"),
        ("deferred-body", "worker"),
    },
}
#: These run with every test run: each point, each column, each way to die once at least.
_CORE = {
    (0, "body", "child"),
    (0, "staged", "worker"),
    (0, "stored", "child"),
    (2, "staged", "child"),
    (2, "stored", "worker"),
    (2, "deferred-before", "child"),
    (2, "deferred-after", "worker"),
    (3, "cleared", "worker"),
    (4, "staged", "child"),
    (5, "stored", "worker"),
    (6, "relay-taken", "worker"),
    (6, "published", "child"),
    (8, "staged", "child"),
    (8, "stored", "worker"),
    (10, "middle", "worker"),
    (13, "middle", "child"),
    (13, "published", "worker"),
    (13, "relay-middle", "worker"),
    (13, "deferred-body", "child"),
}


_TIMES = {0: "never", 1: "once", 2: "twice", 3: "three times"}


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of the parent and what it deferred; of a deferred run, where that was killed.

    ``completed`` counts the bodies of the three deferred runs that ended. ``record`` has the states
    of the parent and of what it deferred, as its record shows them; nothing if there is none.
    """

    state: str
    runs: int
    completed: tuple[int, int, int]
    waits: bool = False
    record: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return what became of the three, which all fared alike, or else the counts."""
        counts = set(self.completed)
        text = _TIMES[counts.pop()] if len(counts) == 1 else str(self.completed)
        return f"{text}; record waits" if self.waits else text

    @property
    def of_one(self) -> str:
        """Return what became of the one that was killed, if the others completed once."""
        a, b, c = self.completed
        return str(self) if (a, c) != (1, 1) else _TIMES[b] if b else "lost"


@dataclass(frozen=True, slots=True)
class Cell:
    """A point, who dies there, and the worker's settings."""

    column: Column
    point: str
    who: str

    def __str__(self) -> str:
        return f"{self.column.name}-{self.point}-{self.who}".replace("`", "")

    @property
    def is_core(self) -> bool:
        return (COLUMNS.index(self.column), self.point, self.who) in _CORE

    @property
    def in_deferred(self) -> bool:
        return self.point.startswith("deferred")

    @property
    def is_celerys(self) -> bool:
        """Whether it is Celery's own way with a deferred run that it is not once (rule 5.5)."""
        return self.in_deferred and expected(self).completed != (1, 1, 1)


def expected(cell: Cell) -> Seen:
    """Return what must be seen: once where the parent's SUCCESS is stored, else never."""
    seen = _deferred(cell) if cell.in_deferred else _parent(cell)
    return replace(seen, record=tuple(_record(cell, seen)))


def _record(cell: Cell, seen: Seen) -> Iterator[str]:
    """Yield what the record must show: nobody runs for ever but a run that Celery has lost."""
    if cell.in_deferred:
        yield from ("succeeded", "succeeded", _of_killed(cell, seen), "succeeded")
    elif seen.completed == (1, 1, 1):
        yield from ["succeeded"] * 4
    elif seen.waits:
        yield from ("running", "buffered", "buffered", "buffered")
    elif seen.state == "FAILURE":
        yield "failed"


def _of_killed(cell: Cell, seen: Seen) -> str:
    if cell.column.ignores:  # what Celery says of a lost child, or nothing
        return "failed" if cell.who == "child" else "running"
    return {"SUCCESS": "succeeded", "FAILURE": "failed"}.get(seen.state, "running")


def _parent(cell: Cell) -> Seen:
    column, again = cell.column, cell.column.runs_again(cell.who)
    once, never = (1, 1, 1), (0, 0, 0)
    success = "PENDING" if column.ignores else "SUCCESS"
    if cell.point.startswith("relay"):
        return Seen(success, 1, once)
    if cell.point not in {"body", "staged"}:  # the result is stored
        twice = column.is_late and cell.who == "worker" and not column.deduplicates
        return Seen(success, 2 if twice else 1, once)
    if again:
        return Seen(success, 2, once)
    if column.ignores:  # the body's return is all that there is
        return Seen(success, 1, once if cell.point == "staged" else never)
    if cell.who == "child":
        return Seen("FAILURE", 1, never)
    # Celery has lost the run: nobody will ever store how it ended, and what is staged expires.
    return Seen("PENDING", 1, never, waits=cell.point == "staged" and not column.rides)


def _deferred(cell: Cell) -> Seen:
    column, again = cell.column, cell.column.runs_again(cell.who)
    success = "PENDING" if column.ignores else "SUCCESS"
    lost = "FAILURE" if cell.who == "child" and not column.ignores else "PENDING"
    if cell.point == "deferred-stored":
        again = column.is_late and cell.who == "worker" and not column.deduplicates
        return Seen(success, 1 + again, (1, 1 + again, 1))
    done = int(cell.point == "deferred-after")
    if again:
        return Seen(success, 2, (1, 1 + done, 1))
    return Seen(lost, 1, (1, done, 1))


def _cells() -> Iterator[Cell]:
    for column in COLUMNS:
        for point in POINTS:
            for who in ("child", "worker"):
                cell = Cell(column, point, who)
                if _can_be(cell) and (point, who) in _POINTS_OF.get(column.name, {(point, who)}):
                    yield cell


def _can_be(cell: Cell) -> bool:
    if cell.column.rides and cell.point.startswith(("middle", "published", "relay")):
        return False  # all has left with the result, and no record was there
    if cell.point.startswith("relay") and cell.column.pool == "threads" and cell.column.is_late:
        # A thread does not die alone, and the parent that runs again leaves the relay no work.
        return False
    return cell.who == "worker" or not (
        cell.column.pool == "threads" or cell.point.startswith("relay")
    )


CELLS = tuple(_cells())
