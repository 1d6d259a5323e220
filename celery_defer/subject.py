"""The run that a line of the log is about: ``run_id``, ``parent_id``, ``defer_id``."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

#: What each line has as ``extra``; None where there is no such id, or it is not known.
Ids = Mapping[str, str | None]

#: The scope of the run in progress, which `celery_defer.run` sets.
scope: ContextVar[Any] = ContextVar("celery_defer_scope", default=None)


def find() -> Any:
    """Return the scope in progress, whatever its phase; a block that has ended is none."""
    found = scope.get()
    # A generator that is closed elsewhere leaves its block behind in the context of its start.
    while found is not None and found.is_over:
        found = found.outer
    return found


def of(run_id: str | None, parent_id: str | None = None, defer_id: str | None = None) -> Ids:
    """Return the ids of a run that *parent_id* has deferred under *defer_id*, if it was."""
    return {"run_id": run_id, "parent_id": parent_id, "defer_id": defer_id}


def of_run(run: Any) -> Ids:
    """Return the ids of a ``celery_defer.Run``."""
    parent = run.parent
    return of(run.id, parent.id, parent.defer_id) if parent else of(run.id)


def in_progress() -> Ids:
    """Return the ids of the run in progress here."""
    found = find()
    return of(None) if found is None else of_run(found.run)
