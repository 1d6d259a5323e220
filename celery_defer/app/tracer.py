"""Where the package touches Celery's tracer, signals and task class; nothing else does.

Each touch names the function of Celery that it leans on, and tests/unit/test_hooks.py fails
when Celery changes it. Decision 22 lists the modules that lean on other parts of Celery.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.app import trace
from celery.app.task import Task
from celery.exceptions import Ignore, Reject, Retry
from celery.signals import task_failure, task_received, task_success
from celery.states import IGNORED

from celery_defer import guard
from celery_defer.app import receive
from celery_defer.contract import Deferrable, deferrable, find
from celery_defer.errors import Cancelled, StoreAwayError, Suspended
from celery_defer.model import HEADER, Outcome
from celery_defer.outbox import publish
from celery_defer.run import WAKE, Phase, Scope, enter, leave, report_revoked
from celery_defer.run import find as find_run
from celery_defer.steps import report_to_invoker

logger = logging.getLogger(__name__)

# Re-entrant: to find a declaration may finalize the app, whose handlers may run a task.
_wrapping = threading.RLock()

#: Returns the Defer of an app, or None for an app without one.
ExtensionOf = Callable[[Any], Any]

# Seconds until a run looks again for its store: 2, 4, 8 … up to a minute.
_MOST_DOUBLINGS = 6
_LONGEST_PAUSE = 60.0
_UNPUBLISHED = "run %s (%s): its calls are not published"

#: By these Celery's run goes on, or ends without a result.
_UNDECIDED = (Retry, Ignore, Reject, StoreAwayError)


def install(extension_of: ExtensionOf) -> None:
    """Put the package into Celery, once in a process; apps without Defer(app) feel nothing."""
    if hasattr(trace.build_tracer, "_defer_wrapped"):
        return
    celery_trace: Any = trace
    build_tracer = _building(celery_trace.build_tracer, extension_of)
    celery_trace.build_tracer = build_tracer
    # celery.worker.consumer.consumer imports the function by name, perhaps before now.
    consumer: Any = sys.modules.get("celery.worker.consumer.consumer")
    if consumer is not None:
        consumer.build_tracer = build_tracer
    celery_trace.ExceptionInfo = _exception_info
    # `@deferred` returns the task itself, so the task needs the method; a lazy proxy and the
    # clone of another app find it on their class.
    task_class: Any = Task
    task_class.with_options = _with_options
    task_success.connect(_on_success, weak=False)
    task_failure.connect(_on_failure, weak=False)
    task_received.connect(_on_received, weak=False)


def _building(build: Any, extension_of: ExtensionOf) -> Callable[..., Any]:
    """Wrap celery.app.trace.build_tracer, which makes the function that runs a task.

    Every pool, eager mode and every late task comes through it, once a task or once a
    call; so what is done to the task is done once.
    """

    @wraps(build)
    def build_tracer(name: str, task: Any, *args: Any, **kwargs: Any) -> Any:
        extension = extension_of(task.app)
        if extension is None:
            return build(name, task, *args, **kwargs)
        with _wrapping:
            if "_defer_wrapped" not in vars(task):
                _wrap_function(task)
                _wrap_body(task)
                task._defer_wrapped = True
        return _tracing(build(name, task, *args, **kwargs), task, extension)

    build_tracer._defer_wrapped = True  # type: ignore[attr-defined]
    return build_tracer


def _tracing(trace_task: Callable[..., Any], task: Any, extension: Any) -> Callable[..., Any]:
    """Open a scope round one run: celery.app.trace.build_tracer.<locals>.trace_task."""
    settings, store = extension.settings, extension.store

    def tracer(uuid: str, args: Any, kwargs: Any, request: Any = None) -> Any:
        known = request if request and "id" in request else {**(request or {}), "id": uuid}
        own = Scope(task, known, settings, store)
        own.is_claimed = HEADER in known or WAKE in known
        if own.is_claimed and receive.is_duplicate(own):
            return _ignored(f"run {uuid} ({task.name}) has been started, or was aborted")
        own.keep_arguments(args, kwargs)
        token = enter(own)
        try:
            return trace_task(uuid, args, kwargs, request)
        finally:
            leave(token)

    return tracer


class _Left(Ignore):
    """Tells Celery that a run has left its worker, or was never to start."""


class _LeftInfo:
    """What billiard.einfo.ExceptionInfo says of an exception, without a traceback.

    That takes a quarter of the time in which a run parks, and nobody reads it.
    """

    tb = None
    traceback = ""

    def __init__(self, error: BaseException, internal: bool) -> None:
        self.type, self.exception, self.internal = type(error), error, internal

    @property
    def exc_info(self) -> tuple[type[BaseException], BaseException, None]:
        return self.type, self.exception, None


def _exception_info(exc_info: Any = None, internal: bool = False) -> Any:
    """Take the place of ExceptionInfo in celery.app.trace, which calls it and no more."""
    error = (exc_info or sys.exc_info())[1]
    if isinstance(error, _Left):
        return _LeftInfo(error, internal)
    return ExceptionInfo(exc_info, internal)


def _ignored(reason: str) -> Any:
    """Return what trace_task returns when a body raises Ignore: the message is acknowledged."""
    logger.info("%s: this message is ignored", reason)
    error = _Left(reason)
    return trace.trace_ok_t(_LeftInfo(error, True), trace.TraceInfo(IGNORED, error), 0.0, None)


def _wrap_body(task: Any) -> None:
    """Put `receive.perform` round what build_tracer will call: `__call__`, or else `run`.

    The outermost place, so that an autoretry inside is seen as the Retry that it raises.
    In a worker it is `__call__` for every task, since
    celery.app.trace._install_stack_protection has put one of its own there.
    """
    kind: Any = type(task)
    if not trace.task_has_custom(task, "__call__"):
        task.run = _performing(task.run, task)
    elif not hasattr(kind.__call__, "_defer_wrapped"):
        kind.__call__ = _performing(kind.__call__)


def _performing(body: Callable[..., Any], task: Any = None) -> Callable[..., Any]:
    """Wrap *body*, which is given its task as the first argument unless *task* is."""

    @wraps(body)
    def perform(*args: Any, **kwargs: Any) -> Any:
        own = find_run()
        # A task called as a plain function joins the run that calls it.
        if (
            own is None
            or own.ending.phase is not Phase.RECEIVED
            or own.task is not (args[0] if task is None else task)
        ):
            return body(*args, **kwargs)
        try:
            return receive.perform(own, body, args, kwargs, _UNDECIDED)
        except StoreAwayError as error:
            return _later(own, error)
        except Suspended as ended:
            if isinstance(ended, Cancelled):
                report_revoked(own.app, own.task.backend, own.task.request)
            logger.info("%s", ended)
            # Acknowledged, and nothing stored: the run's state is shown already.
            raise _Left(str(ended)) from None

    perform._defer_wrapped = True  # type: ignore[attr-defined]
    return perform


def _later(own: Scope, error: Exception) -> Any:
    """Have Celery run the run again when its store may be back, whatever retries its task has.

    celery.app.task.Task.retry; what the run knows of its steps is kept there.
    """
    retries = own.task.request.retries
    pause = min(2.0 ** min(retries + 1, _MOST_DOUBLINGS), _LONGEST_PAUSE)
    return own.task.retry(exc=error, countdown=pause, max_retries=retries + 1)


def _wrap_function(task: Any) -> None:
    """Put `receive.unpack` before the function of a deferred task.

    The innermost place: celery.app.autoretry.add_autoretry_behaviour keeps the function as
    `_orig_run` and retries what it raises, so `autoretry_for` holds for a PayloadError too.
    """
    declaration = find(task)
    if declaration is None:
        return
    contract = declaration.read(task).contract
    attribute = "_orig_run" if hasattr(task, "_orig_run") else "run"
    function = getattr(task, attribute)

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        own = find_run()
        if own is not None and own.task is task:
            args, kwargs = receive.unpack(own, contract, args, kwargs)  # type: ignore[assignment]
        return function(*args, **kwargs)

    setattr(task, attribute, run)


def _with_options(self: Any, **options: Any) -> Deferrable[..., Any]:
    return deferrable(self).with_options(**options)


def _on_success(sender: Any, result: Any, **_: Any) -> None:
    """Celery stores the result before it sends `task_success`, so a deferred run can read it."""
    own = find_run()
    if own is None or own.task is not sender:
        return
    _report_to_invoker(own)
    if own.ending.commit is None and not own.has_deferred:
        return
    own.ending.result = result
    with guard.logged(logger, _UNPUBLISHED, own.run.id, own.run.task):
        publish(own, Outcome.SUCCESS)


def _on_failure(sender: Any, exception: Any, **_: Any) -> None:
    """A run has failed in its body or after it: its result has no JSON, its link no broker.

    Celery also sends this signal for a worker that was lost, in a process where no run is in
    progress: the relay reads the stored state and decides.
    """
    own = find_run()
    if own is None or own.task is not sender:
        return
    _report_to_invoker(own)
    if own.ending.phase not in (Phase.RETURNED, Phase.RAISED):
        return
    own.ending.result = exception
    try:
        with guard.logged(logger, _UNPUBLISHED, own.run.id, own.run.task):
            publish(own, Outcome.FAILURE)
    finally:
        own.drop()


def _on_received(sender: Any, request: Any, **_: Any) -> None:
    """Let Flower show again what Celery says of a run that has waited.

    Any state but RETRY would be outranked by WAITING (celery.events.state.Task.event). Celery
    sends this signal in a worker's main process, before its own event of a message it received.
    """
    events = sender.event_dispatcher
    if events is not None and WAKE in request.message.headers:
        events.send("task-retried", uuid=request.id)


def _report_to_invoker(own: Scope) -> None:
    if own.invoker:
        # The relay of any worker looks after it.
        with guard.logged(
            logger, "run %s: the run that invoked it does not know of its end", own.run.id
        ):
            report_to_invoker(own)
