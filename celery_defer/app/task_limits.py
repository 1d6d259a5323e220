"""Which of a task's limits its runs meet as they arrive."""

from __future__ import annotations

from typing import Any

from celery_defer import guard
from celery_defer.contract import Deferrable
from celery_defer.flow import Limits


def started_by(task: Any, declaration: Any) -> Deferrable[..., Any] | None:
    """Return the deferred function of a task, if its runs ask its limits before they start."""
    function, limits = _read(task, declaration)
    return function if limits is not None and limits.has_gates else None


def ended_by(task: Any, declaration: Any) -> Deferrable[..., Any] | None:
    """Return the deferred function of a task, if an event or a deadline may end its runs."""
    function, limits = _read(task, declaration)
    return function if limits is not None and (limits.cancel_on or limits.timeouts) else None


def _read(task: Any, declaration: Any) -> tuple[Any, Limits | None]:
    if declaration is None:
        return None, None
    function: Any = guard.attempt(lambda: declaration.read(task))  # else the tracer warns
    return function, getattr(function, "limits", None)
