"""How a person ends the wait of a parked run: as if its time was up."""

from __future__ import annotations

from typing import Any

from celery_defer.errors import StepError
from celery_defer.flow import Kind
from celery_defer.ids import RunId
from celery_defer.run import Memo
from celery_defer.steps.replay import Note, Span
from celery_defer.store import Recalled, Store

# A recall makes the store keep the run's steps; this is for how many seconds.
_SHORTLY = 1.0


def end_wait(extension: Any, id: RunId) -> bool:
    """Let a parked run go on now; return False if it does not wait, or waits for its turn in line.

    A relay publishes it. An event that comes first is still received. Raises StepError if it waits
    for another run.
    """
    recalled: Recalled = extension.store.recall(id, None, _SHORTLY)
    if not recalled.is_parked:
        return False
    step, note = parked_at(recalled)
    if note.kind == "invoke":
        raise StepError(
            f"step {step!r} of run {id} waits for a run that it has invoked, whose result nobody "
            "else has: wake or cancel that one",
            step,
        )
    if not step and _stands_in_line(extension.store, id):
        return False
    if note.kind == "sleep":
        _keep(extension, id, step, Span.unpack(recalled.spans.get(step)))
    return bool(extension.store.hasten(id, extension.clock()))


def _stands_in_line(store: Store, id: RunId) -> bool:
    """Whether a limit holds the run back, but for a debounce, which lets it go when it is due."""
    (line,) = store.in_line([id])
    return line is not None and line.gate != Kind.DEBOUNCE.value


def _keep(extension: Any, id: RunId, step: str, span: Span) -> None:
    """Store how long a sleep has really taken, which leaves no memo when its time is up."""
    memo = Memo(kind="sleep", began=span.since, took=extension.clock() - span.since)
    extension.store.remember(id, {step: memo.pack()}, extension.settings.run_keeps)


def parked_at(recalled: Recalled) -> tuple[str, Note]:
    """Return the step that a run is parked at; an empty one if it was restarted there."""
    notes = ((step, Note.unpack(body)) for step, body in recalled.waits.items())
    return next(
        ((step, note) for step, note in notes if note.turn == recalled.turn - 1), ("", Note())
    )
