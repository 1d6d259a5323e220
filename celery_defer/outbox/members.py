"""The results of the calls in a batch: how its run has ended, stored under the id of each call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from celery.app.task import Context
from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend
from celery.exceptions import TaskRevokedError
from celery.states import FAILURE, REVOKED, SUCCESS

from celery_defer import guard
from celery_defer.contract import parents_in
from celery_defer.errors import DeferError
from celery_defer.ids import RunId, run_id
from celery_defer.outbox.gathered import GatheredCalls
from celery_defer.run import Scope, commands_of, send_commands, server_of_results

logger = guard.logger(__name__)

#: The run of a call, and that of its parent.
_Pair = tuple[RunId, RunId]


def report_members(run: Scope, error: BaseException | None = None) -> None:
    """Store how a batch has ended for each of its calls, in one round trip where it is Redis.

    The result of a call is the id of the batch's run, whose result is what the function returned;
    or the error. So ``AsyncResult(handle.id).get()`` returns, and raises, as for other calls.
    """
    if not run.keeps_result or run.is_eager:
        return
    pairs = [(run_id(each.id, each.defer_id), each.id) for each in run.run.parents]
    result = {"batch": run.run.id} if error is None else error
    state = SUCCESS if error is None else FAILURE
    with guard.logged(logger, "batch %s: its calls have no results", run.run.id):
        _store(run.task.backend, run.task.name, pairs, result, state)


def report_members_elsewhere(
    task: Any,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    error: BaseException | None = None,
) -> None:
    """Store for the calls of a batch that its run has ended, in a process that does not run it.

    As the main process of a worker does for a child that was lost. Without an *error* the run was
    revoked, or cancelled.
    """
    rows = parents_in(args or (), kwargs or {})
    if (
        not rows
        or task is None
        or task.ignore_result
        or isinstance(task.backend, DisabledBackend | RPCBackend)
    ):
        return
    with guard.logged(logger, "batch of %s: its calls have no results", task.name):
        pairs = [(run_id(parent, defer_id), RunId(parent)) for parent, _, defer_id, *_ in rows]
        end = (TaskRevokedError("revoked"), REVOKED) if error is None else (error, FAILURE)
        _store(task.backend, task.name, pairs, *end)


def report_refused_batch(app: Any, batch: GatheredCalls, reason: str) -> None:
    """Store FAILURE for the calls of a batch that is not published."""
    task = app.tasks.get(batch.task, app)
    if isinstance(task.backend, DisabledBackend | RPCBackend):
        return
    pairs = [(call.id, call.parent) for call in batch.calls]
    error = DeferError(f"batch {batch.id} was never published: {reason}")
    with guard.logged(logger, "batch %s: its calls have no results", batch.id):
        _store(task.backend, batch.task, pairs, error, FAILURE)


def _store(backend: Any, task: str, pairs: Sequence[_Pair], result: Any, state: str) -> None:
    if server_of_results(backend) is None:
        _store_all(task, pairs, result, state, backend)
    elif commands := commands_of(backend, partial(_store_all, task, pairs, result, state)):
        send_commands(backend, commands)


def _store_all(task: str, pairs: Iterable[_Pair], result: Any, state: str, backend: Any) -> None:
    for id, parent in pairs:
        request = Context({"id": id, "task": task, "parent_id": parent})
        backend.store_result(id, result, state, request=request)
