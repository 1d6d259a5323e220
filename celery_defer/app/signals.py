"""What the package does on Celery's signals: it publishes, and reports the run's end.

tests/app/test_tracer.py fails when Celery sends them in another order.
"""

from __future__ import annotations

from typing import Any

from celery.signals import task_failure, task_received, task_revoked, task_success, worker_ready

from celery_defer import guard
from celery_defer.app import departure
from celery_defer.current import extension_of
from celery_defer.ids import RunId
from celery_defer.model import Outcome
from celery_defer.outbox import give_back_all, publish, report_members, report_members_elsewhere
from celery_defer.run import WAKE, Phase, Scope
from celery_defer.run import find as find_run
from celery_defer.steps import keep_after_end, report_to_invoker
from celery_defer.store import Fact, RunState

logger = guard.logger(__name__)

_UNPUBLISHED = "run %s (%s): its calls are not published"


def connect() -> None:
    """Connect the handlers of this module."""
    task_success.connect(_on_success, weak=False)
    task_failure.connect(_on_failure, weak=False)
    task_revoked.connect(_on_revoked, weak=False)
    task_received.connect(_on_received, weak=False)
    worker_ready.connect(_on_ready, weak=False)


def _on_success(sender: Any, result: Any, **_: Any) -> None:
    """Publish; Celery has stored the result before `task_success`, so deferred runs can read it."""
    scope = find_run()
    if scope is None or scope.task is not sender:
        return
    departure.end(scope)
    _report_to_invoker(scope)
    if scope.parents:
        report_members(scope)
    keep_after_end(scope)
    if scope.ending.commit is None and not scope.has_deferred:
        return
    scope.ending.result = result
    with guard.logged(logger, _UNPUBLISHED, scope.run.id, scope.run.task):
        publish(scope, Outcome.SUCCESS)


def _on_failure(sender: Any, exception: Any, task_id: str = "", **rest: Any) -> None:
    """Publish for a run that failed, in its body or after it: a result that cannot be encoded, say.

    Celery also sends this signal for a lost worker, in a process where no run is in progress; there
    the relay reads the stored state and decides.
    """
    scope = find_run()
    if scope is None:
        _tell_end(sender, task_id, RunState.FAILED)
        if extension_of(sender.app) is not None:
            report_members_elsewhere(sender, rest.get("args"), rest.get("kwargs"), exception)
        return
    if scope.task is not sender:
        return
    departure.end(scope)
    _report_to_invoker(scope)
    if scope.parents:
        report_members(scope, exception)
    keep_after_end(scope)
    if scope.ending.phase not in (Phase.RETURNED, Phase.RAISED):
        return
    if scope.ending.commit is None and not scope.has_deferred and scope.has_readable_end:
        return
    scope.ending.result = exception
    try:
        with guard.logged(logger, _UNPUBLISHED, scope.run.id, scope.run.task):
            publish(scope, Outcome.FAILURE)
    finally:
        scope.ending.phase = Phase.DROPPED


def _on_revoked(sender: Any, request: Any, **_: Any) -> None:
    _tell_end(sender, request.id, RunState.ABORTED)
    extension = extension_of(sender.app)
    if extension is not None:
        report_members_elsewhere(sender, request.args, request.kwargs)
    if getattr(sender, "_defer_limited", None) and extension is not None and extension.store:
        give_back_all(sender.app, extension.store, RunId(request.id), sender.name)


def _tell_end(task: Any, id: str, state: RunState) -> None:
    """Write into a history that the main process of a worker has ended the run: rare enough.

    celery.worker.request.Request does so for a lost child, a time limit, a revoked run.
    """
    extension = extension_of(task.app)
    if extension is None or not id:
        return
    with guard.logged(logger, "run %s: its record does not say that it has ended", id):
        if extension.store is not None and extension.settings.record:
            keep = extension.settings.result_expires
            extension.store.note([Fact(RunId(id), task.name, state, keep)])
        if extension.store is not None and getattr(task, "_defer_guarded", None):
            extension.store.unwatch(RunId(id), extension.settings.end_keeps)


def _on_received(sender: Any, request: Any, **_: Any) -> None:
    """Let Flower show again what Celery says of a run that has waited.

    Any state but RETRY would be outranked by WAITING (celery.events.state.Task.event). Celery
    sends this signal in a worker's main process, before its own event of a message it received.
    """
    events = sender.event_dispatcher
    if events is not None and WAKE in request.message.headers:
        events.send("task-retried", uuid=request.id)


def _on_ready(sender: Any, **_: Any) -> None:
    """Warn if tasks are run past the package.

    celery.worker.consumer.Consumer.update_strategies has just built the tracer of each task.
    """
    app = sender.app
    if extension_of(app) is None:
        return
    tracers = [task.__trace__ for task in app.tasks.values()]
    if any(tracer and not hasattr(tracer, "_defer_wrapped") for tracer in tracers):
        pool = type(sender.pool)
        logger.warning(
            "the pool %s runs tasks by a tracer of its own: defer and steps raise NoRunError "
            "in them; use another pool",
            f"{pool.__module__}.{pool.__qualname__}",
        )


def _report_to_invoker(scope: Scope) -> None:
    if scope.invoker:
        # If this fails, a relay finds the end.
        with guard.logged(
            logger, "run %s: the run that invoked it does not know of its end", scope.run.id
        ):
            report_to_invoker(scope)
