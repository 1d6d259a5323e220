"""Calls that will have no run: what is stored under their ids, so that nobody waits for a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from celery.app.task import Context
from celery.backends.base import DisabledBackend
from celery.states import FAILURE, PENDING

from celery_defer import guard, subject
from celery_defer.errors import DeferError
from celery_defer.ids import RunId, run_id
from celery_defer.model import Call, CallState
from celery_defer.outbox.records import DeferredCalls
from celery_defer.run import signals

logger = guard.logger(__name__)

# Each takes a round trip to the result backend.
_MOST = 100
_NEVER = "was never published"
_UNTOLD = "run %s (%s): that calls of it have no run could not be recorded"


def report_refused(app: Any, record: DeferredCalls, calls: Sequence[Call], reason: str) -> None:
    """Store FAILURE for the runs of calls that no broker takes."""
    about = subject.of(record.parent)
    with guard.logged(logger, _UNTOLD, record.parent, record.task, about=about):
        for call in calls[:_MOST]:
            store_refusal(app, record, call, reason)


def store_refusal(app: Any, record: DeferredCalls, call: Call, reason: str) -> None:
    """Store FAILURE for the run of a call that is not published."""
    request = _request(record, call)
    error = DeferError(f"run {request.id} {_NEVER}: {reason}")
    backend = app.tasks.get(call.task, app).backend
    backend.mark_as_failure(request.id, error, request=request)


def stored_state(app: Any, id: str, task: str) -> str:
    """Return the state of a run in the result backend; PENDING if its task keeps no result."""
    owner = app.tasks.get(task, app)
    if isinstance(owner.backend, DisabledBackend):
        return PENDING
    return str(owner.AsyncResult(id).state)


def has_started(app: Any, record: DeferredCalls, call: Call) -> bool:
    """Whether the run of a call has a state, other than that it was never published."""
    id = run_id(record.parent, call.id)
    state = stored_state(app, id, call.task)
    if state != FAILURE:
        return state != PENDING
    error = app.tasks.get(call.task, app).AsyncResult(id).result
    return not (isinstance(error, DeferError) and _NEVER in str(error))


def report_dropped(app: Any, record: DeferredCalls, dropped: Mapping[RunId, str]) -> None:
    """Log calls that the ``apply_async`` of their task did not publish; store SKIPPED for them."""
    calls = [call for call in record.calls if run_id(record.parent, call.id) in dropped]
    for call in calls:
        id = run_id(record.parent, call.id)
        reason = dropped[id]
        logger.warning(
            "defer %r of run %s (%s) is skipped: %s",
            call.step or call.id,
            record.parent,
            record.task,
            reason,
            extra={**subject.of(id, record.parent, call.step or call.id), "reason": reason},
        )
        signals.send_skipped(record.parent, record.task, call, "NotPublished", reason)
    about = subject.of(record.parent)
    with guard.logged(logger, _UNTOLD, record.parent, record.task, about=about):
        for call in islice(calls, _MOST):
            request = _request(record, call)
            reason = dropped[run_id(record.parent, call.id)]
            result = {"defer_id": call.step or call.id, "reason": reason}
            app.backend.store_result(request.id, result, CallState.SKIPPED.value, request=request)


def _request(record: DeferredCalls, call: Call) -> Context:
    id = run_id(record.parent, call.id)
    return Context(id=id, task=call.task, root_id=record.root, parent_id=record.parent)
