"""Runs in a store, as workers would have left them, in any number and with any names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import time
from typing import Any
from uuid import uuid4

from pydantic_core import to_json

from celery_defer.ids import RunId, run_id
from celery_defer.store import Fact, RunState, ScoreRow, Store

__all__ = ["EVIL", "Call", "add_experiment", "add_many", "add_run"]

#: What must never reach a page as it is.
EVIL = """<script>alert('x')</script>"""
_KEEP = 3_600.0
_WAIT = {
    "step": "delivery",
    "kind": "event",
    "since": time(),
    "until": time() + 7 * 86_400,
    "event": "parcel/delivered",
    "match": {"order_id": "7"},
}
_CHUNK = 500


@dataclass(frozen=True)
class Call:
    """One call of a run: under which id, of which task, and what became of it."""

    id: str
    task: str = "shop.send_receipt"
    state: RunState = RunState.SUCCEEDED
    payload: Mapping[str, Any] = field(default_factory=lambda: {"email": "ada@example.com"})
    tags: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    refused: str | None = None
    #: For how many seconds it has run.
    took: float = 0.2
    calls: Sequence[Call] = ()


def add_run(store: Store, task: str, calls: Sequence[Call], tags: Mapping[str, str] = {}) -> RunId:
    """Add a run that has succeeded, and what it has deferred; return its id."""
    parent = RunId(str(uuid4()))
    own = Fact(
        parent, task, RunState.SUCCEEDED, _KEEP, to_json({"t": task}), _told(calls, tags),
        attempt=1, started=0.5, tags=_listed(tags),
    )  # fmt: skip
    facts = [own, *(fact for call in calls for fact in _facts(parent, call))]
    for start in range(0, len(facts), _CHUNK):
        store.note(facts[start : start + _CHUNK])
    return parent


def add_many(store: Store, count: int, tags: Mapping[str, str] = {}) -> list[RunId]:
    """Add *count* runs, nine of ten of which were deferred by the tenth; return the parents."""
    states = [RunState.SUCCEEDED] * 6 + [RunState.FAILED, RunState.RUNNING, RunState.PUBLISHED]
    calls = [Call(f"receipt-{n}", state=state, tags=tags) for n, state in enumerate(states)]
    return [add_run(store, "shop.process_order", calls) for _ in range(count // 10)]


def add_experiment(
    store: Store,
    id: str,
    variants: Sequence[str],
    count: int,
    names: Sequence[str] = ("bought", "total"),
    *,
    are_recorded: bool = True,
) -> list[RunId]:
    """Add *count* runs that take the variants in turn, and scores of nine of ten; return them.

    *names* are those of a rate and of a number. Unless they *are_recorded*, runs have no history.
    """
    runs = [RunId(str(uuid4())) for _ in range(count)]
    for n, run in enumerate(runs):
        variant = variants[n % len(variants)]
        store.assign(run, id, variant, _KEEP, 0.001)
        about = to_json({"t": "shop.checkout", "v": {id: [variant, run]}})
        carried = ((id, variant, run),)
        if are_recorded:
            ended = RunState.SUCCEEDED
            store.note([Fact(run, "shop.checkout", ended, _KEEP, about, experiments=carried)])
        if n % 10:
            rate, number = names
            rows = [
                ScoreRow(run, rate, n % 7 < 3 + n % len(variants), source="the shop"),
                ScoreRow(run, number, 20 + n % 13 * 1.5 + n % len(variants), comment="in EUR"),
            ]
            store.score(rows, ["", ""], "shop.checkout", _KEEP, is_known=True)
    return runs


def _facts(parent: RunId, call: Call) -> Iterator[Fact]:
    id, tags = run_id(parent, call.id), _listed(call.tags)
    about: dict[str, Any] = {"t": call.task, "d": call.id, "p": parent, "a": [[], call.payload]}
    about |= {"g": call.tags} if call.tags else {}
    about |= {"e": call.reason} if call.reason else {}
    about |= {"x": call.refused} if call.refused else {}
    has_run = call.state not in (RunState.SKIPPED, RunState.ABORTED)
    first = RunState.PUBLISHED if has_run else call.state
    yield Fact(id, call.task, first, _KEEP, to_json(about), deferred=0.4, tags=tags)
    if call.state is not first:
        told = _told(call.calls, wait=_WAIT if call.state is RunState.WAITING else None)
        yield Fact(id, call.task, call.state, _KEEP, told=told, attempt=1, started=call.took)
    for below in call.calls:
        yield from _facts(id, below)


def _told(
    calls: Sequence[Call], tags: Mapping[str, str] = {}, wait: Mapping[str, Any] | None = None
) -> bytes:
    told: dict[str, Any] = {"c": [call.id for call in calls]} if calls else {}
    told |= {"g": tags} if tags else {}
    told |= {"w": wait} if wait else {}
    return to_json(told) if told else b""


def _listed(tags: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{key}={value}" for key, value in tags.items())
