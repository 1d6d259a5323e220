"""The limits of tasks as they are in force, as rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celery_defer.app.limits import declared, with_limits
from celery_defer.errors import OptionError, StoreError
from celery_defer.flow import Gate, Kind
from celery_defer.run import extension_for
from celery_defer.store import FlowState, LimitState
from celery_defer.views.history import reads
from celery_defer.views.rows import FlowRow, LimitRow


@reads
def limits(*, app: Any = None, task: str | None = None) -> list[FlowRow]:
    """Return the tasks that have limits, by name, with what is in force and in use; or one task.

    It asks the store once. The tasks are those of the app, and those of which runs are recorded.
    Raises OptionError for a task that is not known, and StoreError without a Redis that replies.

    >>> [row.task for row in limits() if row.held > 1_000]
    """
    extension = extension_for(app)
    if extension.store is None:
        raise StoreError
    of = extension.app
    names = [task] if task else sorted({*with_limits(of), *extension.store.tasks()})
    states = extension.store.flow(names)
    rows = [_row(state, declared(of, state.task)) for state in states]
    if task and task not in of.tasks and not rows[0].limits:
        raise OptionError(f"this app has no task {task!r}: give its name as `runs` prints it")
    return [row for row in rows if row.limits or row.is_paused or row.held]


def _row(state: FlowState, gates: tuple[Gate, ...]) -> FlowRow:
    return FlowRow(state.task, state.is_paused, state.held, list(_limits(state, gates)))


def _limits(state: FlowState, gates: tuple[Gate, ...]) -> Iterator[LimitRow]:
    """Yield the limits of a task: those that its store knows, and others in its code."""
    in_code = {gate.name: gate for gate in gates}
    known = {each.name: each for each in state.limits}
    for name in dict.fromkeys((*in_code, *known)):
        yield _limit(name, known.get(name), in_code.get(name))


def _limit(name: str, known: LimitState | None, gate: Gate | None) -> LimitRow:
    # The store does not know the numbers of a limit for which no run has asked.
    gate = gate or Gate(Kind.CONCURRENCY, name)
    of = known or LimitState(name, 0, 0.0, 0)
    return LimitRow(
        name,
        of.limit or gate.limit,
        of.period or gate.period,
        of.burst or gate.burst,
        dict(of.override or {}),
        of.running,
        of.lines,
    )
