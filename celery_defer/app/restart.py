"""How a run that has failed is restarted from one of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from celery.states import FAILURE, RETRY, REVOKED, STARTED, SUCCESS
from celery.worker.state import REVOKE_EXPIRES

from celery_defer.app.control import extension_and_store, replying, run_id_of
from celery_defer.errors import RestartError
from celery_defer.ids import RunId
from celery_defer.model import HELD, WAITING, CallState
from celery_defer.outbox import (
    ParkedRun,
    begin_again,
    is_told_unrevoked,
    is_withdrawn,
    run_again,
    stored_state,
    task_in,
)
from celery_defer.steps import Repeat, repeat
from celery_defer.store import History, RunState

# A look that keeps nothing for longer.
_SHORTLY = 1.0
_ENDED = frozenset({FAILURE, REVOKED})
# The states that a result shows of a run without a history.
_STATES = {
    STARTED: RunState.RUNNING,
    RETRY: RunState.RUNNING,
    WAITING: RunState.WAITING,
    HELD: RunState.HELD,
    CallState.SKIPPED.value: RunState.SKIPPED,
}
_NOT_ENDED = "has not ended: it is {}; cancel it first"
_WHY_NOT = {
    RunState.SKIPPED: "was skipped, so there is nothing to restart: `show` says why. Mend that, "
    "and send its task anew",
    RunState.REPLACED: "was replaced by a later call, which runs in its place: `show` says which",
    RunState.BATCHED: "has no run of its own: restart the run of its batch, which `show` names",
    RunState.QUARANTINED: "was not published: `quarantine retry` publishes it",
    RunState.UNKNOWN: "is not known: its message is still in a queue, its record and its result "
    "have expired, or this is not the id of a run",
}


def restart(run_id: str, *, from_step: str | None = None, app: Any = None) -> Sequence[str]:
    """Let a run that has failed, or was cancelled, go on; return what runs again.

    Those are the ids of its steps from *from_step* on; the ones that began earlier return their
    memos. Without *from_step* it goes on where it ended: all steps that have finished are kept, and
    a wait in which it was cancelled begins anew. It has the id and the arguments that it had.

    Raises RestartError if the run is in progress, has succeeded or is not known, has no such step,
    was withdrawn before it started, or nobody knows its arguments. Also for three hours after
    Celery has revoked it, or it was cancelled in progress: workers would discard its message.
    Raises IdError for a bad id, and StoreError if the app has no Redis, or it does not reply.

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
        _check_ended(extension.app, id, history)
        _check_not_revoked(extension.clock(), id, history)
        run = run_again(extension, id)
        recalled = store.recall(id, None, _SHORTLY)
        return Plan(run, recalled.turn, repeat(id, recalled, from_step, extension.clock()))


def _check_ended(app: Any, id: RunId, history: History | None) -> None:
    """Raise RestartError unless the run has ended without success."""
    stored = stored_state(app, id, task_in(history))
    state = history.state if history else _STATES.get(stored, RunState.UNKNOWN)
    if stored == SUCCESS or state is RunState.SUCCEEDED:
        raise RestartError(
            f"run {id} has succeeded, and its result stays: send its task anew to do it again"
        )
    if stored == CallState.ABORTED.value or is_withdrawn(history):
        raise RestartError(
            f"run {id} was withdrawn before it started, which is final: send its task anew, or "
            "defer it under another id"
        )
    if stored not in _ENDED and state not in (RunState.FAILED, RunState.ABORTED):
        raise RestartError(f"run {id} {_WHY_NOT.get(state, _NOT_ENDED).format(state.value)}")


def _check_not_revoked(now: float, id: RunId, history: History | None) -> None:
    """Raise RestartError if workers remember the run as revoked: they would discard its message.

    How long they do is a setting of each worker; this process has the same, or the default.
    """
    if history is None or history.state is not RunState.ABORTED or is_told_unrevoked(history):
        return
    until = history.finished + REVOKE_EXPIRES
    if until > now:
        at = datetime.fromtimestamp(until, timezone.utc)
        raise RestartError(
            f"run {id} was revoked, or cancelled in progress, and workers that remember that "
            f"discard its messages: restart it after {at:%Y-%m-%d %H:%M} UTC, or send its task anew"
        )
