"""Where the package hooks into Celery's tracer and task class.

Each hook names the function of Celery that it relies on; tests/app/test_tracer.py fails when Celery
changes it. Decision 22 lists the modules that rely on other parts of Celery.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from functools import partial, wraps
from inspect import iscoroutine
from typing import Any

from celery.app import trace
from celery.app.task import Task
from celery.exceptions import Ignore, Reject, Retry

from celery_defer import guard
from celery_defer.app import arrival, departure, receive, signals, watching
from celery_defer.app.final import end_tries
from celery_defer.app.ignored import Ignored, acknowledged, exception_info
from celery_defer.app.retry import retry
from celery_defer.app.task_limits import ended_by, started_by
from celery_defer.contract import Deferrable, deferrable, find, parents_in
from celery_defer.errors import Cancelled, ContractError, StoreAwayError, Suspended
from celery_defer.model import HEADER
from celery_defer.run import WAKE, Phase, Scope, enter, leave, tracing
from celery_defer.run import find as find_run

logger = guard.logger(__name__)

# Re-entrant: finding a declaration may finalize the app, whose handlers may run a task.
_wrapping = threading.RLock()

# The task for which a tracer is being built.
_in_progress: ContextVar[Any] = ContextVar("celery_defer_building", default=None)

#: Returns the Defer of an app, or None for an app without one.
ExtensionOf = Callable[[Any], Any]


# With these, Celery runs the task again, or stores no result.
_UNDECIDED = (Retry, Ignore, Reject, StoreAwayError)


def install(extension_of: ExtensionOf) -> None:
    """Hook the package into Celery; apps without Defer(app) are unaffected.

    A second call has no effect, unless other code has replaced ``build_tracer`` in the meantime, as
    a pool for coroutines does.
    """
    celery_trace: Any = trace
    if not hasattr(celery_trace.build_tracer, "_defer_wrapped"):
        build = _wrap_build_tracer(celery_trace.build_tracer, extension_of)
        celery_trace.build_tracer = build
    # celery.worker.consumer.consumer imports the function by name, perhaps before now.
    consumer: Any = sys.modules.get("celery.worker.consumer.consumer")
    if consumer is not None:
        consumer.build_tracer = celery_trace.build_tracer
    celery_trace.ExceptionInfo = exception_info
    # `@deferred` returns the task itself, so the task needs the method. On the class, lazy
    # proxies and clones for other apps have it too.
    task_class: Any = Task
    task_class.with_options = _with_options
    signals.connect()


def _wrap_build_tracer(build: Any, extension_of: ExtensionOf) -> Callable[..., Any]:
    """Wrap celery.app.trace.build_tracer, which makes the function that runs a task.

    All pools, eager mode and late tasks call it, once for a task or once for a run; so a task is
    marked when it is wrapped. *build* may be another tool's, which calls one that is wrapped
    already: the outermost opens the scope.
    """

    @wraps(build)
    def build_tracer(name: str, task: Any, *args: Any, **kwargs: Any) -> Any:
        extension = extension_of(task.app)
        if extension is None or _in_progress.get() is task:
            return build(name, task, *args, **kwargs)
        with _wrapping:
            if "_defer_has_contract" not in vars(task):
                declaration = find(task)
                if declaration is not None:
                    _wrap_function(task, declaration)
                end_tries(task)
                _wrap_body(task)
                task._defer_is_scorer = declaration is not None and declaration.is_scorer
                task._defer_limited = started_by(task, declaration)
                task._defer_guarded = ended_by(task, declaration)
                task._defer_has_contract = declaration is not None
        token = _in_progress.set(task)
        try:
            trace_task = build(name, task, *args, **kwargs)
        finally:
            _in_progress.reset(token)
        return _wrap_trace_task(trace_task, task, extension)

    build_tracer._defer_wrapped = True  # type: ignore[attr-defined]
    return build_tracer


def _wrap_trace_task(
    trace_task: Callable[..., Any], task: Any, extension: Any
) -> Callable[..., Any]:
    """Open a scope for each run: celery.app.trace.build_tracer.<locals>.trace_task."""
    settings, store = extension.settings, extension.store
    has_contract, is_scorer = task._defer_has_contract, task._defer_is_scorer
    limited, guarded = task._defer_limited, task._defer_guarded
    takes_all = any(each and each.limits.applies_to_all for each in (limited, guarded))

    @wraps(trace_task)
    def tracer(uuid: str, args: Any, kwargs: Any, request: Any = None) -> Any:
        facts = request if request and "id" in request else {**(request or {}), "id": uuid}
        if not has_contract and HEADER in facts:  # not ours: nobody can defer this task
            facts = {name: fact for name, fact in facts.items() if name != HEADER}
        scope = Scope(task, facts, settings, store)
        scope.is_claimed = HEADER in facts or WAKE in facts or takes_all
        scope.is_scorer, scope.limited, scope.guarded = is_scorer, limited, guarded
        if scope.is_claimed and scope.header is not None and scope.header.batch:
            scope.parents = parents_in(args, kwargs)
        token = traced = None
        try:
            if reason := _refusal(scope, args, kwargs):
                traced = acknowledged(reason)
                return traced
            scope.keep_arguments(args, kwargs)
            token = enter(scope)
            traced = trace_task(uuid, args, kwargs, tracing().received(scope, request))
            return traced
        finally:
            if token is not None:
                tracing().left(scope)
                leave(token)
                if scope.watched:
                    watching.leave(scope, traced)
            departure.finish(scope, traced)  # also if a signal came before the body

    tracer._defer_wrapped = True  # type: ignore[attr-defined]
    return tracer


def _refusal(run: Scope, args: Any, kwargs: Any) -> str | None:
    """Return why a run that has arrived does not go on here; None if its body begins next."""
    if run.is_claimed and (reason := arrival.refusal(run, args, kwargs)):
        return reason
    if run.guarded is not None and (reason := watching.refusal(run, args, kwargs)):
        return reason
    if run.place is not None and run.problem is None:
        arrival.begin(run)
    return None


def _wrap_body(task: Any) -> None:
    """Wrap what build_tracer will call, `__call__` or else `run`, with `receive.perform`.

    It is the outermost wrapper, so that it sees the Retry that an autoretry inside raises. In a
    worker it is `__call__` for every task, for celery.app.trace._install_stack_protection defines
    one.
    """
    kind: Any = type(task)
    if not trace.task_has_custom(task, "__call__"):
        task.run = _wrap_call(task.run, task)
    elif not hasattr(kind.__call__, "_defer_wrapped"):
        kind.__call__ = _wrap_call(kind.__call__)


def _wrap_call(body: Callable[..., Any], task: Any = None) -> Callable[..., Any]:
    """Wrap *body*, whose first argument is its task, unless *task* is given."""

    @wraps(body)
    def perform(*args: Any, **kwargs: Any) -> Any:
        scope = find_run()
        # A task called as a plain function joins the run that calls it.
        if (
            scope is None
            or scope.ending.phase is not Phase.RECEIVED
            or scope.task is not (args[0] if task is None else task)
        ):
            return body(*args, **kwargs)
        result = _performed(scope, body, args, kwargs)
        return _awaited(scope, result) if iscoroutine(result) else result

    perform._defer_wrapped = True  # type: ignore[attr-defined]
    return perform


async def _awaited(scope: Scope, body: Awaitable[Any]) -> Any:
    """Run the body of a task that is a coroutine function, in a pool that awaits it."""
    try:
        result = await body
    except BaseException as error:
        return _performed(scope, partial(_raise, error))
    return _performed(scope, lambda: result)


def _raise(error: BaseException) -> None:
    raise error


def _performed(
    scope: Scope, body: Callable[..., Any], args: Sequence[Any] = (), kwargs: Any = None
) -> Any:
    try:
        if scope.problem is not None:
            raise arrival.blocked(scope, scope.problem)
        return receive.perform(scope, body, args, kwargs or {}, _UNDECIDED)
    except StoreAwayError as error:
        return retry(scope, error)
    except Suspended as end:
        if isinstance(end, Cancelled):
            watching.end_cancelled(scope)
        logger.info("%s", end)
        scope.ending.has_left = True
        # Acknowledged, and nothing stored: the run's state is reported already.
        raise Ignored(str(end)) from None


def _wrap_function(task: Any, declaration: Any) -> None:
    """Call `receive.unpack` before the function of a deferred task.

    It is the innermost wrapper: celery.app.autoretry.add_autoretry_behaviour keeps the function
    as `_orig_run` and retries what it raises, so `autoretry_for` holds for a PayloadError too.
    """
    try:
        declaration.read(task)  # before the pool forks
    except ContractError as error:
        logger.warning("each defer of %s is skipped: %s", task.name, error)
    attribute = "_orig_run" if hasattr(task, "_orig_run") else "run"
    function = getattr(task, attribute)

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        scope = find_run()
        if scope is not None and scope.task is task:
            args, kwargs = receive.unpack(  # type: ignore[assignment]
                scope, declaration.read, args, kwargs
            )
        return function(*args, **kwargs)

    setattr(task, attribute, run)


def _with_options(self: Any, **options: Any) -> Deferrable[..., Any]:
    return deferrable(self).with_options(**options)
