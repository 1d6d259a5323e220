"""How long a run that is part of a chord may wait."""

from __future__ import annotations

from celery_defer.durations import shown
from celery_defer.errors import StepError
from celery_defer.run import Scope, lifetime
from celery_defer.steps.wait import Wait

# Of the time that a chord's count lives, since it began a little before the run.
_SAFE_PART = 0.9


def chord_end(run: Scope) -> float | None:
    """Return until when the run's chord is certain to count it; None outside a chord.

    Celery's Redis backend counts the parts of a chord in keys that expire.
    """
    request, backend = run.context, run.task.backend
    if not (request.chord and request.group):
        return None
    chord_expires = run.app.conf.get("result_chord_expires")
    expires = lifetime(chord_expires or getattr(backend, "expires", None))
    since = run.journal.since if run.journal else run.now()
    return since + expires * _SAFE_PART if expires else None


def check_chord(run: Scope, step: str, wait: Wait) -> None:
    end = chord_end(run)
    if end is None or wait.until <= end:
        return
    raise StepError(
        f"step {step!r} of run {run.run.id} would wait until {shown(wait.until)} inside a chord, "
        f"whose count expires at {shown(end)}: set result_chord_expires (before Celery 5.7: "
        "result_expires) to more than all waits of a run together",
        step,
    )
