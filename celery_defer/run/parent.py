"""What a body reads of its run and of its parent, and how the parent's result is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from celery_defer import guard
from celery_defer.errors import ResultError
from celery_defer.ids import RunId
from celery_defer.model import When
from celery_defer.run.headers import DeferHeader


@dataclass(frozen=True, slots=True)
class Parent:
    """The run that deferred the run in progress."""

    id: RunId  #: The parent run's Celery task id.
    task: str  #: The name of its task.
    defer_id: str  #: The name of the call that made this run.
    when: When  #: What the call waited for: "success", "failure", "always" or "now".
    experiment: str | None  #: The name given in ``with_options``, or None.
    _read: Callable[[], Any] = field(repr=False, compare=False)

    def result(self) -> Any:
        """Return the parent's stored result: its return value, or the exception it failed with.

        Raises ResultError if the parent keeps no result (``ignore_result``, no backend), or its
        result has expired.
        """
        return self._read()


@dataclass(frozen=True, slots=True)
class Run:
    """The run in progress, which ``current_run()`` returns; ``attempt`` counts from 1."""

    id: RunId  #: The run's Celery task id.
    root_id: RunId  #: The id of the first run of the tree; its own where it is the first.
    task: str  #: The name of the task.
    attempt: int  #: 1 in the first attempt, 2 after one retry.
    #: The run that has deferred it; None where it was not deferred, and for a batch.
    parent: Parent | None
    deferred_at: datetime | None  #: When ``defer`` was called, with time zone UTC; or None.
    #: How deep it is nested: 0 if it was not deferred, 1 if such a run has deferred it.
    depth: int = field(default=0, repr=False)
    #: The variant that was taken in each experiment, by the run or by a run above it.
    experiments: Mapping[str, str] = field(default_factory=dict, hash=False)
    #: The runs that have deferred it: of a batch one for each payload, in their order; of any other
    #: deferred run its parent.
    parents: tuple[Parent, ...] = field(default=(), repr=False)


def parent_of(scope: Any, header: DeferHeader) -> Parent:
    """Return the parent of the run in progress in *scope*, which is deferred."""
    parent_id = RunId(scope.request.get("parent_id") or (scope.outer.run.id if scope.outer else ""))
    return Parent(
        id=parent_id,
        task=header.parent_task,
        defer_id=header.defer_id,
        when=header.when,
        experiment=header.experiment,
        _read=lambda: _result(scope, parent_id, header.parent_task),
    )


def parents_of(scope: Any, header: DeferHeader) -> tuple[Parent, ...]:
    """Return the parents of the calls in the batch that is in progress in *scope*."""
    # What is no row of ours was not made by this package.
    rows = guard.attempt(lambda: [_parent(scope, row) for row in scope.parents[: header.batch]])
    return tuple(rows or ())


def _parent(scope: Any, row: Sequence[Any]) -> Parent:
    id, task, defer_id, when, experiment = row
    return Parent(
        RunId(id), task, defer_id, when, experiment, lambda: _result(scope, RunId(id), task)
    )


def _result(scope: Any, parent_id: RunId, task: str) -> Any:
    if scope.is_eager and scope.outer and scope.outer.run.id == parent_id:
        return scope.outer.ending.result  # an eager parent's result is stored nowhere
    # A task may have a result backend of its own.
    stored = scope.app.tasks.get(task, scope.app).AsyncResult(parent_id)
    if stored.backend.as_uri() == "disabled://":  # celery.backends.base.DisabledBackend
        raise ResultError(f"run {parent_id} keeps no result: the app has no result_backend")
    if not stored.ready():
        raise ResultError(
            f"run {parent_id} has no stored result: "
            "it ignores its result, or the result has expired"
        )
    return stored.result
