"""Runs that limits hold back, as workers leave them in a store."""

from __future__ import annotations

from time import time
from typing import Any

from pydantic_core import to_json

from celery_defer.flow import Ask, Gate, Kind, Later
from celery_defer.ids import RunId
from celery_defer.run import told_held
from celery_defer.settings import Settings
from celery_defer.store import Fact, Holding, RunState, Store, owner_of

__all__ = ["KEEP", "SYNC", "arrive", "place"]

KEEP = 600
#: The task that the tests limit.
SYNC = "shop.sync"


def place(key: str = "7", limit: int = 1) -> Gate:
    """Return the gate of a limit of concurrency, for one value of its key."""
    return Gate(Kind.CONCURRENCY, "concurrency", key, limit)


def arrive(
    store: Store, run: str, *gates: Gate, task: str = SYNC, about: dict[str, Any] | None = None
) -> Later | None:
    """Let a run arrive; if it is held back, return by what."""
    id, owner = RunId(run), owner_of(task, run)
    ask = Ask(task, id, owner, gates, 30.0)
    known = {"about": to_json({"t": task, **(about or {})})}
    begins = Fact(id, task, RunState.RUNNING, KEEP, **known, attempt=1)
    later = store.claim(id, owner, KEEP, facts=[begins], ask=ask).admission
    if not isinstance(later, Later):
        return None
    now = time()
    told = told_held(Settings(), later, now)
    store.hold(
        ask,
        Holding(0, f"held-{run}", b"{}", now + 86_400),
        now=now,
        until=now + 30,
        keep=KEEP,
        facts=[Fact(id, task, RunState.HELD, KEEP, **known, told=told)],
    )
    return later
