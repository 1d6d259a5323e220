"""What is measured of the command line: from the command to its last line, over many runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from time import monotonic
from typing import Any
from uuid import uuid4

from celery import Celery
from celery.bin.celery import celery
from click.testing import CliRunner
from pydantic_core import to_json

from celery_defer import Defer
from celery_defer.ids import RunId, run_id
from celery_defer.store import Fact, RunState, Store
from tests.bench.figures import Figure, at_most
from tests.bench.site import own_site

__all__ = ["FULL", "MEASURES", "QUICK", "Size"]

_BATCH = 500
_KEEP = 86_400.0
_TASKS = 20
_LISTS = (
    ["runs"],
    ["runs", "--state", "failed"],
    ["runs", "--task", "bench.task-7"],
    ["runs", "--tag", "order=777"],
    ["waiting"],
    ["watch", "--once"],
)
#: What each command is compared with.
_A_SECOND = 1.0


@dataclass(frozen=True, slots=True)
class Size:
    """How many rounds, how many finished runs, and how many runs a tree has."""

    rounds: int
    finished: int
    below: int


FULL = Size(rounds=9, finished=1_000_000, below=1_000)
QUICK = Size(rounds=3, finished=20_000, below=1_000)


def tree(size: Size) -> Iterator[Figure]:
    """A tree of runs, each of the first ones with ten below it."""
    with _app() as app:
        root = _plant(app._celery_defer.store, size.below)
        yield _figure(app, f"tree of {size.below:,} runs", ["tree", root], size.rounds)
        yield _figure(app, "show its root", ["show", root], size.rounds)


def runs(size: Size) -> Iterator[Figure]:
    """Lists among many finished runs."""
    with _app() as app:
        _finish(app._celery_defer.store, size.finished)
        beside = f"among {size.finished:,} finished"
        for words in _LISTS:
            yield _figure(app, f"{' '.join(words)}, {beside}", words, size.rounds)


def start(size: Size) -> Iterator[Figure]:
    """The start of a process, beside one that imports Celery's command alone."""
    commands = {
        name: [sys.executable, "-c", f"import {name}"]
        for name in ("celery_defer.views.cli", "celery.bin.celery")
    }
    series: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(size.rounds):
        for name, command in commands.items():
            series[name].append(_timed(partial(subprocess.run, command, check=True)))
    ours, theirs = series.values()
    yield Figure.of("none", "import the commands", ours, theirs, unit="s")


MEASURES: dict[str, Callable[[Size], Iterator[Figure]]] = {
    "tree": tree,
    "runs": runs,
    "start": start,
}


# -- private ------------------------------------------------------------------------------


@contextmanager
def _app() -> Iterator[Any]:
    with own_site() as site:
        app = Celery("bench", broker=site.broker, backend=site.backend, set_as_current=False)
        Defer(app)
        yield app
        app.close()


def _figure(app: Any, name: str, words: Sequence[str], rounds: int) -> Figure:
    def run() -> None:
        result = CliRunner().invoke(
            celery, ["-A", "bench", "defer", *words], obj=None, catch_exceptions=False
        )
        assert result.exit_code == 0, result.output

    with _found(app):
        run()  # it opens connections
        return _of(name, [_timed(run) for _ in range(rounds)])


@contextmanager
def _found(app: Any) -> Iterator[None]:
    """Have Celery's command find the app, which is in no module."""
    module = sys.modules["celery.bin.celery"]
    find: Any = vars(module)["find_app"]
    vars(module)["find_app"] = lambda *_, **__: app
    try:
        yield
    finally:
        vars(module)["find_app"] = find


def _of(name: str, taken: Sequence[float]) -> Figure:
    seconds = [_A_SECOND] * len(taken)
    return Figure.of("redis", name, taken, seconds, unit="s", target=at_most(1.0))


def _timed(run: Callable[[], None]) -> float:
    start = monotonic()
    run()
    return monotonic() - start


def _plant(store: Store, count: int) -> str:
    """Record a tree of so many runs; return the id of its root."""
    root = RunId(str(uuid4()))
    names = [f"call-{number}" for number in range(10)]
    rows: list[tuple[RunId, RunId | None, str]] = [(root, None, "root")]
    parents = 0
    while len(rows) < count:
        rows += [(run_id(rows[parents][0], name), rows[parents][0], name) for name in names]
        parents += 1
    facts = [
        _fact(id, "bench.task", RunState.SUCCEEDED, name, parent, names if place < parents else ())
        for place, (id, parent, name) in enumerate(rows)
    ]
    for start in range(0, len(facts), _BATCH):
        store.note(facts[start : start + _BATCH])
    return root


def _finish(store: Store, count: int) -> None:
    """Record so many runs that have ended, of twenty tasks; one of a hundred has failed."""

    def all_facts() -> Iterator[Fact]:
        for number in range(count):
            state = RunState.SUCCEEDED if number % 100 else RunState.FAILED
            task, tag = f"bench.task-{number % _TASKS}", f"order={number % 1_000}"
            yield _fact(RunId(str(uuid4())), task, state, "call", RunId("parent"), (), tag)

    facts = all_facts()
    while batch := list(islice(facts, _BATCH)):
        store.note(batch)


def _fact(
    id: RunId,
    task: str,
    state: RunState,
    name: str,
    parent: RunId | None,
    calls: Sequence[str],
    *tags: str,
) -> Fact:
    about: dict[str, Any] = {"t": task, "a": [[], {"order_id": 7}]}
    if parent:
        about |= {"d": name, "p": parent}
    told = to_json({"c": calls}) if calls else b""
    return Fact(id, task, state, _KEEP, to_json(about), told, 1, 2.0, 1.0, tags)
