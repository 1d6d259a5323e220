"""How an attempt gives back its places as it leaves its worker."""

from __future__ import annotations

from typing import Any

from celery.states import IGNORED, REJECTED, RETRY

from celery_defer.app.place import Place
from celery_defer.current import extension_of
from celery_defer.outbox import give_back
from celery_defer.run import Scope
from celery_defer.steps import seconds_until

#: For how many seconds the message of a retry or a redelivery may be on its way.
PATIENCE = 3_600.0


def end(run: Scope) -> None:
    """Give back the places of a run whose end is stored: Celery's tracer has more to do."""
    if run.place is not None:
        _give_back(run, None)


def finish(run: Scope, traced: Any) -> None:
    """Give back the places of an attempt that has left as Celery's tracer tells, if it has any."""
    if run.place is not None:
        _give_back(run, _idle(run, traced))


# -- private ------------------------------------------------------------------------------


def _give_back(run: Scope, idle: float | None) -> None:
    """Give back the places of a run that comes back in *idle* seconds; with None it has ended."""
    place: Place = run.place
    run.place = None
    extension_of(run.app).renewal.remove(place)
    if place.is_over:  # with its result
        return
    # The end of an attempt that has lost its place is not that of another delivery of the run.
    ended = idle is None and not place.is_lost
    give_back(run.app, place.store, place.hold, ended=ended, idle=idle or 0.0)


def _idle(run: Scope, traced: Any) -> float | None:
    """Return in how many seconds the run may come back at the latest; None if it has ended."""
    if traced is None:  # what is no Exception has ended it
        return PATIENCE
    info = traced.info
    if info is None:  # it has succeeded
        return None
    if info.state == REJECTED:
        return PATIENCE
    if info.state == RETRY:
        return seconds_until(run, info.retval.when) + PATIENCE
    is_cancelled = run.journal is not None and run.journal.is_cancelled
    if info.state == IGNORED and run.ending.has_left and not is_cancelled:
        return 0.0  # its record says that it comes back
    return None
