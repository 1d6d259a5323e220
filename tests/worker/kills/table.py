"""The kill table of the docs, made from what was seen."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tests.support.processes import ROOT
from tests.worker.kills.cells import CELLS, COLUMNS, POINTS, Cell, Column, Seen
from tests.worker.kills.step_cells import STEP_CELLS, STEP_COLUMNS, STEP_POINTS, StepCell, StepSeen

__all__ = ["IS_MADE", "PAGE", "render"]

#: Whether this session writes the page.
IS_MADE = os.environ.get("DEFER_KILL_TABLE") == "1"
PAGE = ROOT / "docs/explanation/kill-table.md"

_INTRODUCTION = """\
# The kill table

% Made by `make kill-table` from what was seen; not written by hand.

A parent defers three calls. At the point that a row names, a process gets `SIGKILL`: the pool's
**child** that runs the task, or the whole **worker**, its main process with all children, which is
then started again. A cell says how often the bodies of the deferred runs completed, counted by
the bodies themselves when the outbox was empty and the queue read to its end:

- **once**: each completed exactly once. This is so wherever the parent's SUCCESS is stored; with
  `ignore_result`, wherever its body has returned.
- **never**: none began. This is so wherever no SUCCESS is stored in the end. *Record waits*: Celery
  has lost the run with its worker, and the record waits for a result that nobody will store, until
  it expires.
- **★**: what Celery does with the deferred run that was killed; the other two completed once.
  **lost ★**: acknowledged early, a run is lost with its process; so is any run of a killed child
  without `reject_on_worker_lost`. **twice ★**: acknowledged late, a run whose result was not
  stored runs again, and without `worker_deduplicate_successful_tasks` also one whose result was
  stored. Celery does so with every task.
- **—**: not tried, or impossible: a pool of threads has no child, and the relay runs in the
  main process.

Each column adds settings to a default configuration with results in Redis. A *+* column has the
settings of the column before it too.

Where the broker is the Redis of the results, the messages go with the parent's result, in one
transaction: both are there, or neither. Then no record is staged, publishing has no middle, and a
relay has nothing to do; these rows have a — there. *Its body has returned* means that the messages
are made, and nothing is sent.

On RabbitMQ, with `ignore_result`, and everywhere with `defer_commit = "signal"` (the second table
shows it for Redis), the calls are staged when the body has returned, and published when SUCCESS is
stored. In the middle of publishing, the first message has left on RabbitMQ and in the column
*one by one* (Redis with `retry_on_timeout` in its transport options, with which kombu makes no
batch, and a store on another server, as far as the package can tell); elsewhere on Redis all
messages are one batch, of which nothing has left yet.

A message that Redis as a broker would give to another worker after `visibility_timeout` is
returned at once here. Redis has another gap, which is left out since it concerns every message of
Celery: kombu takes a message from the queue, and then notes that it has it. A worker that is
killed in between loses the message.
"""

_STEPS = """\
A run does a step, parks (for a third of a second; in the rows about an event, until that event
comes), and does another step. A cell says how often its body completed:

- **once**: and each step once. This is so wherever the run was parked, and wherever Celery runs
  it again: a finished step is not done again.
- **once; its step twice**: the step's function had returned, and its result was not stored yet. A
  step is done at least once, and once its result is stored, never again.
- **lost ★**, **twice ★**: what Celery does with a run that is killed in its body, as above. If the
  whole worker is killed in the resumed body, the run's state stays STARTED; before that, it stays
  PENDING, or STARTED with `task_track_started`.

If a child is killed when the run *is parked, its message not acknowledged*, Celery stores
FAILURE (`WorkerLostError`) where it does not run the message again. The run is parked all the
same, goes on when its wait is over, and its result replaces the FAILURE.

"""


def render(seen: Mapping[Cell, Seen], of_steps: Mapping[StepCell, StepSeen]) -> str:
    """Return the page that shows what was seen."""
    calls = {cell: _of_call(cell, seen[cell]) for cell in CELLS if cell in seen}
    steps = {cell: _of_step(cell, of_steps[cell]) for cell in STEP_CELLS if cell in of_steps}
    tables: list[tuple[str, str, Iterator[str]]] = []
    for broker, commit in (("Redis", "result"), ("Redis", "signal"), ("RabbitMQ", "result")):
        columns = [column for column in _on(broker, COLUMNS) if column.commit == commit]
        title = f"{broker} as the broker" + (", committed by signal" if commit == "signal" else "")
        tables.append((title, "", _rows(columns, POINTS, Cell, calls)))
    for broker, said in zip(("Redis", "RabbitMQ"), (_STEPS, ""), strict=True):
        columns = _on(broker, STEP_COLUMNS)
        rows = _rows(columns, STEP_POINTS, StepCell, steps)
        tables.append((f"Runs with steps, {broker} as the broker", said, rows))
    parts = [f"## {title}\n\n{said}" + "\n".join(rows) + "\n" for title, said, rows in tables]
    return "\n".join([_INTRODUCTION, *parts])


def _on(broker: str, columns: Sequence[Column]) -> Sequence[Column]:
    return [column for column in columns if column.broker == broker]


def _rows(
    columns: Sequence[Column],
    points: Mapping[str, str],
    cell: Callable[[Column, str, str], Any],
    texts: Mapping[Any, str],
) -> Iterator[str]:
    names = [column.name.removeprefix("RabbitMQ, ").removeprefix("signal, ") for column in columns]
    yield _row("killed when", "who", *names)
    yield _row(*["---"] * (2 + len(columns)))
    for point, words in points.items():
        for who in ("child", "worker"):
            cells = [cell(column, point, who) for column in columns]
            if any(each in (*CELLS, *STEP_CELLS) for each in cells):
                yield _row(words, who, *(texts.get(each, "—") for each in cells))


def _row(*texts: str) -> str:
    return f"| {' | '.join(texts)} |"


def _of_call(cell: Cell, seen: Seen) -> str:
    return f"{seen.of_one} ★" if cell.is_celerys else str(seen)


def _of_step(cell: StepCell, seen: StepSeen) -> str:
    return f"{seen} ★" if cell.is_celerys else str(seen)
