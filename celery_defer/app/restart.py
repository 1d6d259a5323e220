"""How a run that has failed is restarted from one of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from celery.states import FAILURE, REVOKED, SUCCESS

from celery_defer.app.control import extension_and_store, replying, run_id_of
from celery_defer.errors import RestartError
from celery_defer.model import CallState
from celery_defer.outbox import ParkedRun, begin_again, run_again, stored_state
from celery_defer.steps import Repeat, repeat
from celery_defer.store import RunState

# A look that keeps nothing for longer.
_SHORTLY = 1.0
_ENDED = frozenset({FAILURE, REVOKED, CallState.ABORTED.value})


def restart(run_id: str, *, from_step: str | None = None, app: Any = None) -> Sequence[str]:
    """Let a run that has failed, or was cancelled or aborted, go on; return what runs again.

    Those are the ids of its steps from *from_step* on; the ones that began earlier return their
    memos. Without *from_step* it goes on where it ended: all steps that have finished are kept, and
    a wait in which it was cancelled begins anew. It has the id and the arguments that it had.

    Raises RestartError if the run is in progress or has succeeded, has no such step, or nobody
    knows its arguments; IdError for a bad id, and StoreError if the app has no Redis, or it does
    not reply.

    >>> restart(handle.id, from_step="charge")
    """
    plan = plan_restart(run_id, from_step=from_step, app=app)
    extension, _ = extension_and_store(app)
    with replying(f"run {plan.run.id} is perhaps not restarted"):
        begin_again(
            extension, plan.run, plan.turn, from_step,
            forgets=plan.repeat.forgets, events=plan.repeat.events,
        )  # fmt: skip
    return plan.repeat.steps


@dataclass(frozen=True, slots=True)
class Plan:
    """A run, the turn in which it has ended, and what of it is run again."""

    run: ParkedRun
    turn: int
    repeat: Repeat


def plan_restart(run_id: str, *, from_step: str | None = None, app: Any = None) -> Plan:
    """Return what ``restart`` would do; raise what it raises."""
    id = run_id_of(run_id)
    extension, store = extension_and_store(app)
    with replying(f"run {id} is not restarted"):
        (history,) = store.histories([id])
        run = run_again(extension, id)
        _check_ended(extension.app, run, history.state if history else RunState.UNKNOWN)
        recalled = store.recall(id, None, _SHORTLY)
        return Plan(run, recalled.turn, repeat(id, recalled, from_step, extension.clock()))


def _check_ended(app: Any, run: ParkedRun, state: RunState) -> None:
    """Raise RestartError unless the run has ended without success."""
    stored = stored_state(app, run.id, run.task)
    if stored == SUCCESS or state is RunState.SUCCEEDED:
        raise RestartError(
            f"run {run.id} has succeeded, and its result stays: send its task anew to do it again"
        )
    if stored not in _ENDED and state not in (RunState.FAILED, RunState.ABORTED):
        raise RestartError(f"run {run.id} has not ended: it is {state.value}; cancel it first")
