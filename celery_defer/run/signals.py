"""The signals of the package, of Celery's kind, and who sends them with what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from billiard.exceptions import SoftTimeLimitExceeded
from celery.utils.dispatch import Signal

from celery_defer import guard, ids, subject
from celery_defer.flow import Later
from celery_defer.ids import RunId
from celery_defer.model import Call, CallState, about_message
from celery_defer.run.scope import Scope
from celery_defer.store import ScoreRow

_OF_A_RUN = ["run_id", "parent_id", "defer_id", "task"]

#: A call of ``defer`` was accepted: it waits for its parent's end. Sent by the parent's process.
call_deferred = Signal([*_OF_A_RUN, "when"], name="call_deferred")
#: A call has no run: ``defer`` has refused it, or its task's own ``apply_async`` has.
call_skipped = Signal([*_OF_A_RUN, "error", "reason"], name="call_skipped")
#: Messages of deferred runs are at the broker.
calls_published = Signal(["parent_id", "calls", "is_relayed"], name="calls_published")
#: A run waits, and has left its worker.
run_parked = Signal([*_OF_A_RUN, "step", "kind", "until"], name="run_parked")
#: The message that wakes a parked run is at the broker.
run_woken = Signal([*_OF_A_RUN, "turn", "late"], name="run_woken")
#: A run never starts, or has ended early, because somebody has aborted, cancelled or revoked it.
run_aborted = Signal([*_OF_A_RUN, "state", "reason"], name="run_aborted")
#: A limit of its function holds a run back, and it has left its worker.
run_held = Signal([*_OF_A_RUN, "limit"], name="run_held")
#: A limit of its function drops a run, which never starts.
run_dropped = Signal([*_OF_A_RUN, "limit", "reason", "by"], name="run_dropped")
#: A score was written: of a run, or of a step of it.
score_recorded = Signal(
    ["run_id", "task", "name", "value", "step", "comment", "source", "scorer_id"],
    name="score_recorded",
)

#: For metrics, and not public: a relay has looked for records; it could not deal with one.
relay_looked = Signal(["outcome", "records"], name="relay_looked")
record_failed = Signal([], name="record_failed")


class PublishedCall(NamedTuple):
    """One of the ``calls`` of the signal ``calls_published``."""

    run_id: RunId
    defer_id: str
    task: str


def send_deferred(run: Scope, call: Call) -> None:
    if call_deferred.receivers:
        facts = _of_call(run.run.id, call)
        _send(call_deferred, run.run.task, **facts, when=call.options.when)


def send_skipped(parent_id: RunId, parent_task: str, call: Call, error: str, reason: str) -> None:
    """Send ``call_skipped``; *error* is the name of a class, *reason* what a person reads."""
    if call_skipped.receivers:
        facts = _of_call(parent_id, call)
        _send(call_skipped, parent_task, **facts, error=error, reason=reason)


def send_published(
    parent_id: RunId, parent_task: str, calls: Iterable[Call], *, is_relayed: bool = False
) -> None:
    if not calls_published.receivers:
        return
    published = [
        PublishedCall(ids.run_id(parent_id, call.id), call.id, call.task)
        for call in calls
        if not call.step  # the run of a `step.invoke` was not deferred
    ]
    if published:
        facts = {"parent_id": parent_id, "calls": published, "is_relayed": is_relayed}
        _send(calls_published, parent_task, **facts)


def send_parked(run: Scope, step: str, kind: str, until: float | None) -> None:
    if run_parked.receivers:
        _send(run_parked, run.run.task, **_of_run(run), step=step, kind=kind, until=until)


def send_held(run: Scope, later: Later) -> None:
    if run_held.receivers:
        _send(run_held, run.run.task, **_of_run(run), limit=later.gate)


def send_dropped(run: Scope, limit: str, reason: str, by: RunId | None = None) -> None:
    """Send ``run_dropped`` of a run that asks to start."""
    if run_dropped.receivers:
        facts = {"limit": limit, "reason": reason, "by": by}
        _send(run_dropped, run.run.task, **_of_run(run), **facts)


def send_replaced(id: RunId, task: str, reason: str, by: RunId) -> None:
    """Send ``run_dropped`` of a run that was held back by a debounce, and is replaced."""
    if run_dropped.receivers:
        facts = {"task": task, "limit": "debounce", "reason": reason, "by": by}
        _send(run_dropped, task, **subject.of(id), **facts)


def send_woken(
    id: RunId, task: str, options: Mapping[str, Any], headers: Mapping[str, Any],
    *, turn: int, late: float | None,
) -> None:  # fmt: skip
    """Send ``run_woken`` of a run with these publishing options and headers."""
    if run_woken.receivers:
        _send(run_woken, task, **_of_message(id, task, options, headers), turn=turn, late=late)


def send_aborted(run: Scope, call: Call | None = None, why: str = "") -> None:
    """Send ``run_aborted`` of the run, or of a call of it that was buffered."""
    if not run_aborted.receivers:
        return
    if call is None:
        _send(run_aborted, run.run.task, **_of_run(run), state="REVOKED", reason=why or None)
    elif call.state is CallState.BUFFERED:
        facts = _of_call(run.run.id, call)
        _send(run_aborted, call.task, **facts, state=CallState.ABORTED.value, reason=None)


def send_aborted_call(parent_id: str, defer_id: str) -> None:
    """Send ``run_aborted`` of a run that never starts, and whose task is not known here."""
    if run_aborted.receivers:
        about = subject.of(ids.run_id(parent_id, defer_id), parent_id, defer_id)
        _send(run_aborted, None, **about, task=None, state=CallState.ABORTED.value, reason=None)


def send_revoked(
    id: RunId, task: str, options: Mapping[str, Any], headers: Mapping[str, Any], why: str = ""
) -> None:
    """Send ``run_aborted`` of a run that was parked."""
    if run_aborted.receivers:
        facts = _of_message(id, task or None, options, headers)
        _send(run_aborted, task or None, **facts, state="REVOKED", reason=why or None)


def send_scored(task: str, row: ScoreRow) -> None:
    """Send ``score_recorded`` of a run whose task may not be known here."""
    if score_recorded.receivers:
        facts = {"name": row.name, "value": row.value, "step": row.step, "comment": row.comment}
        about = {"run_id": row.run, "task": task or None, "scorer_id": row.by}
        _send(score_recorded, task or None, **about, **facts, source=row.source)


def send_looked(outcome: str, records: int = 0) -> None:
    """Send ``relay_looked``: the look was ``done``, found ``no_broker``, or has ``failed``."""
    if relay_looked.receivers:
        _send(relay_looked, None, outcome=outcome, records=records)


def send_record_failed() -> None:
    if record_failed.receivers:
        _send(record_failed, None)


def _send(signal: Signal, sender: str | None, **facts: Any) -> None:
    """Send a signal; Celery logs what a handler raises, and a soft time limit goes on."""
    # Also what a handler of the log raises.
    for _, reply in guard.attempt(lambda: signal.send(sender=sender, **facts), []):
        if isinstance(reply, SoftTimeLimitExceeded):
            raise reply


def _of_call(parent_id: RunId, call: Call) -> dict[str, Any]:
    about = subject.of(ids.run_id(parent_id, call.id), parent_id, call.id)
    return {**about, "task": call.task}


def _of_run(run: Scope) -> dict[str, Any]:
    return {**subject.of_run(run.run), "task": run.run.task}


def _of_message(
    id: RunId, task: str | None, options: Mapping[str, Any], headers: Mapping[str, Any]
) -> dict[str, Any]:
    return {**about_message(id, options.get("parent_id"), headers), "task": task}
