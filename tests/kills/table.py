"""The kill table of the docs, made from what was seen."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from tests.kills.cells import CELLS, COLUMNS, POINTS, Cell, Column, Seen
from tests.worker.local import ROOT

__all__ = ["IS_MADE", "PAGE", "render"]

#: Whether this session writes the page.
IS_MADE = os.environ.get("DEFER_KILL_TABLE") == "1"
PAGE = ROOT / "docs/explanation/kill-table.md"
_REDIS = tuple(column for column in COLUMNS if column.broker == "Redis")
_RABBITMQ = tuple(column for column in COLUMNS if column.broker == "RabbitMQ")

_INTRODUCTION = """\
# The kill table

% Made by `make kill-table` from what was seen; not written by hand.

A parent defers three calls. At the point that a row names, a process gets `SIGKILL`: the pool's
**child** that runs the task, or the whole **worker**, its main process with all children, which is
then started again. A cell says how often the bodies of the deferred runs completed, counted by
the bodies themselves when the outbox was empty and the queue read to its end:

- **once**: each completed exactly once. So it is wherever the parent's SUCCESS is stored; with
  `ignore_result`, wherever its body has returned.
- **never**: none began. So it is wherever no SUCCESS is stored in the end.
- **record waits**: Celery has lost the parent: it was acknowledged early, and the worker died in
  it, so no state will ever be stored. Nothing is published. The record waits for a state, for a
  week, and is dropped then.
- **★**: Celery's own way with the deferred run that was killed; the other two completed once.
  **lost ★**: acknowledged early, a run is lost with its process; so is any run of a killed child
  without `reject_on_worker_lost`. **twice ★**: acknowledged late, a run whose result was not
  stored runs again, and without `worker_deduplicate_successful_tasks` also one whose result was
  stored. Celery does so with every task.
- **—**: not tried, or impossible: a pool of threads has no child, and the relay lives in the
  main process.

Each column adds to a default configuration with results in Redis. In *+* columns the settings
of the column before hold too.

In the middle of publishing: on RabbitMQ and in the column *one by one* (Redis with
`retry_on_timeout` in its transport options, with which kombu makes no pipeline) the first message
has left and the others have not. Elsewhere on Redis all messages and the record's removal are one
pipeline, of which nothing has left yet; so there is also no moment at which *all is published,
the record is there*.

What Redis as a broker gives to another worker after `visibility_timeout` is given back at once
here. Redis has another gap, which is left out here as it concerns each message of Celery: kombu
takes a message from the queue and notes then that it has it, and a worker that is killed in
between loses it.
"""


def render(seen: Mapping[Cell, Seen]) -> str:
    """Answer the page that shows what was seen."""
    tables = [
        ("Redis as the broker", _rows(_REDIS, seen)),
        ("RabbitMQ as the broker", _rows(_RABBITMQ, seen)),
    ]
    parts = [f"## {title}\n\n" + "\n".join(rows) + "\n" for title, rows in tables]
    return "\n".join([_INTRODUCTION, *parts])


def _rows(columns: Sequence[Column], seen: Mapping[Cell, Seen]) -> Iterator[str]:
    names = [column.name.removeprefix("RabbitMQ, ") for column in columns]
    yield _row("killed when", "who", *names)
    yield _row(*["---"] * (2 + len(columns)))
    for point, words in POINTS.items():
        for who in ("child", "worker"):
            cells = [Cell(column, point, who) for column in columns]
            if any(cell in CELLS for cell in cells):
                yield _row(words, who, *(_text(cell, seen) for cell in cells))


def _row(*texts: str) -> str:
    return f"| {' | '.join(texts)} |"


def _text(cell: Cell, seen: Mapping[Cell, Seen]) -> str:
    if cell not in seen:
        return "—"
    return f"{seen[cell].of_one} ★" if cell.is_celerys else str(seen[cell])
