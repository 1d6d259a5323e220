"""How runs give back the places of limits, and how those who wait for them are woken."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from celery_defer import guard, subject
from celery_defer.current import extension_of
from celery_defer.ids import RunId
from celery_defer.outbox.wake import LEASE, wake
from celery_defer.run import Scope
from celery_defer.store import Giving, Hold, Leased, Store

logger = guard.logger(__name__)

# How many runs a process wakes at a time; a relay wakes the others.
_LIMIT = 100


def give_back(app: Any, store: Store, hold: Hold, *, ended: bool, idle: float = 0.0) -> None:
    """Give back the places of one delivery of a run, and wake the runs that get them.

    With *ended* the run is over; else it may come back in *idle* seconds. If this fails, which is
    logged, others have to wait until the places have run out.
    """
    _give_back(app, store, hold, hold.token, ended=ended, idle=idle)


def giving(run: Scope) -> Giving | None:
    """Return how the places of a run are given back as its result is stored, if that can be."""
    place = run.place
    if place is None or place.is_lost or run.store is None:
        return None
    with guard.logged(
        logger, "run %s: its places are given back later", run.run.id, about=run.about
    ):
        now = run.now()
        return run.store.giving(place.hold, now=now, until=now + LEASE, limit=_LIMIT)
    return None


def wake_next(run: Scope, leases: Sequence[Leased]) -> None:
    """Wake the runs that have got the places of *run* with its result; else a relay wakes them."""
    about = subject.of_run(run.run)
    with (
        suppress(SoftTimeLimitExceeded),  # the result is stored, and nothing is to be interrupted
        guard.logged(
            logger, "run %s: those who get its places are woken later", run.run.id, about=about
        ),
    ):
        if leases and run.store is not None:
            wake(run.app, run.store, leases)


def give_back_all(app: Any, store: Store, id: RunId, task: str) -> None:
    """Give back the places of all deliveries of a run that is over; it stands in no line then."""
    _give_back(app, store, Hold(task, id, "", ()), None, ended=True)


def _give_back(
    app: Any, store: Store, hold: Hold, token: str | None, *, ended: bool, idle: float = 0.0
) -> None:
    about = subject.of(hold.run)
    with guard.logged(logger, "run %s: its places are not given back", hold.run, about=about):
        now = extension_of(app).clock()
        leased = store.give_back(
            hold.run, hold.task, hold.gates, token,
            ended=ended, idle=idle, now=now, until=now + LEASE, limit=_LIMIT,
        )  # fmt: skip
        if leased:
            wake(app, store, leased)
