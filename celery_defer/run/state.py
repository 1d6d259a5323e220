"""The states of runs without a result, as the result backend and Flower show them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from celery.app.task import Context
from celery.states import STARTED

from celery_defer import guard, subject
from celery_defer.broker import is_there
from celery_defer.commands import Commands
from celery_defer.ids import run_id
from celery_defer.model import WAITING, Call, CallState
from celery_defer.run import listeners
from celery_defer.run.headers import DeferHeader
from celery_defer.run.results import commands_of, server_of_results
from celery_defer.run.scope import Scope

logger = guard.logger(__name__)

_EVENTS = {CallState.SKIPPED: "task-skipped", CallState.ABORTED: "task-aborted"}
#: A run with thousands of refused calls has made one mistake, not thousands.
MOST_WITHOUT_RUN = 100
_CANCELLED = "cancelled"


# -- WAITING, while a run is parked, and HELD, while it waits for a place ------------------------


def report_waiting(run: Scope, meta: Mapping[str, Any], until: float, state: str = WAITING) -> None:
    """Store the state of a run that is about to park; *meta* says what it waits for."""
    if run.ignores_result:
        return
    with guard.logged(logger, "run %s: its state does not tell that it waits", run.run.id):
        _store_waiting(run, run.task.backend, meta, state)
        _outlive(run, until)


def waiting_commands(
    run: Scope, meta: Mapping[str, Any], until: float, state: str = WAITING
) -> Commands | None:
    """Return the commands of ``report_waiting``; None if it is not one write to a Redis."""
    commands = _commands(run, lambda backend: _store_waiting(run, backend, meta, state))
    longest = _lifetime_of(run, until)
    if commands is None or not longest:
        return commands
    key = run.task.backend.get_key_for_task(run.run.id)
    rows = [*commands.rows, ("EXPIRE", key, longest)]
    return Commands(commands.server, commands.database, rows)


def announce_waiting(run: Scope, words: str, eta: str | None, state: str = WAITING) -> None:
    """Send the event by which Flower shows what the run waits for."""
    if not run.task.send_events or not listeners.may_listen():
        return
    with guard.logged(logger, "run %s: no event tells that it waits", run.run.id):
        run.task.send_event(f"task-{state.lower()}", result=words, eta=eta)


# -- STARTED, when it goes on ----------------------------------------------------------------


def report_started(run: Scope) -> None:
    """Store that the run has started again, unless Celery does."""
    if _has_stored_state(run):
        with guard.logged(
            logger,
            "run %s: its state is still that it waits",
            run.run.id,
            about=subject.of_run(run.run),
        ):
            _store_started(run, run.task.backend)


def started_commands(run: Scope) -> Commands | None:
    """Return the commands of ``report_started``; None if it is not one write to a Redis."""
    if not _has_stored_state(run):
        return None
    return _commands(run, lambda backend: _store_started(run, backend))


# -- REVOKED, FAILURE, SKIPPED, ABORTED ---------------------------------------------------------


def report_revoked(
    app: Any, backend: Any, request: Any, why: str = "", *, stores: bool = True
) -> None:
    """Do what celery.worker.request.Request._announce_revoked does for a run that has begun."""
    why = why or _CANCELLED
    # This also fails the run's chord.
    backend.mark_as_revoked(request.id, why, request=request, store_result=stores)
    ended = {"terminated": False, "signum": None, "expired": False}
    # Flower still shows what the run waited for as its result.
    _announce_end(app, request, "task-revoked", result=why, **ended)


def report_failed(
    app: Any, backend: Any, request: Any, error: Exception, *, stores: bool = True
) -> None:
    """Do what celery.app.trace.TraceInfo.handle_failure does, for a run that no worker has."""
    # This also fails the run's chord and chain, and calls its errbacks.
    backend.mark_as_failure(request.id, error, request=request, store_result=stores)
    _announce_end(app, request, "task-failed", exception=repr(error), traceback="")


def report_dropped(
    app: Any, backend: Any, request: Any, state: str, reason: str, *, stores: bool = True
) -> None:
    """Store that a run never starts, because a limit of its function has dropped it."""
    header = DeferHeader.of(request)
    result = {"defer_id": header.defer_id if header else None, "reason": reason}
    if stores:
        backend.store_result(request.id, result, state, request=request)
    # This fails the run's chord, which would wait for it.
    backend.mark_as_revoked(request.id, reason, request=request, store_result=False)
    _announce_end(app, request, f"task-{state.lower()}", result=reason)


def report_without_run(parent: Scope) -> None:
    """Store skipped and aborted calls under the ids that their runs would have had.

    It stops at the first error, because each further try would block the worker as long.
    """
    calls = parent.buffer.without_run()[:MOST_WITHOUT_RUN]
    if not calls:
        return
    id, task = parent.run.id, parent.run.task
    with guard.logged(
        logger, "run %s (%s): what it skipped or aborted could not be recorded", id, task
    ):
        if not parent.is_eager or parent.task.store_eager_result:
            _store_without_run(parent, calls)
        if not parent.is_eager and is_there(parent.app):
            _announce_without_run(parent, calls)


def _store_without_run(parent: Scope, calls: Iterable[Call]) -> None:
    for call in calls:
        request = Context({"id": run_id(parent.run.id, call.id), "task": call.task, **_kin(parent)})
        result = {"defer_id": call.id, "reason": call.reason}
        if call.refused:
            result["payload"] = call.refused
        parent.app.backend.store_result(request.id, result, call.state.value, request=request)


def _announce_without_run(parent: Scope, calls: Iterable[Call]) -> None:
    hostname = parent.request.get("hostname")
    with parent.app.events.default_dispatcher(hostname=hostname) as events:
        for call in calls:
            child = {"uuid": run_id(parent.run.id, call.id), "name": call.task, **_kin(parent)}
            # `task-sent` makes the link on the parent's page; then comes the call's own state.
            events.send("task-sent", **child, args="()", kwargs="{}")
            events.send(_EVENTS[call.state], **child, result=call.reason or call.id)


def _announce_end(app: Any, request: Any, event: str, **fields: Any) -> None:
    header = DeferHeader.of(request)
    about = subject.of(request.id, *((request.parent_id, header.defer_id) if header else ()))
    with (
        guard.logged(logger, "run %s: no event tells that it has ended", request.id, about=about),
        app.events.default_dispatcher(hostname=request.hostname) as events,
    ):
        # celery.events.state.Task.event: any other state would be outranked by WAITING.
        events.send("task-retried", uuid=request.id)
        events.send(event, uuid=request.id, **fields)


def _kin(parent: Scope) -> dict[str, Any]:
    return {"parent_id": parent.run.id, "root_id": parent.run.root_id}


# -- results -----------------------------------------------------------------------------------


def lifetime(expires: Any) -> float | None:
    """Return a Celery setting for the lifetime of results in seconds."""
    # The database backend has a timedelta.
    return expires.total_seconds() if isinstance(expires, timedelta) else expires


def _commands(run: Scope, store: Callable[[Any], None]) -> Commands | None:
    """Return the commands by which *store* writes to the run's Redis backend.

    Celery would first look for a stored SUCCESS, to keep it; a run that is delivered for the first
    time has none.
    """
    if run.ignores_result or run.came_again or server_of_results(run.task.backend) is None:
        return None
    # After an error here, the backend writes by itself, and logs its own error.
    return guard.attempt(lambda: commands_of(run.task.backend, store))


def _store_waiting(run: Scope, backend: Any, meta: Mapping[str, Any], state: str) -> None:
    # celery.result.AsyncResult would return the children of an unfinished run as plain lists.
    request = Context(vars(run.context), _children=[])
    backend.store_result(run.run.id, dict(meta), state, request=request)


def _outlive(run: Scope, until: float) -> None:
    """Make the stored state outlive the wait, because a client may be in ``get()`` all the time.

    By celery.backends.base.KeyValueStoreBackend.expire; other backends keep unfinished states.
    """
    backend, longest = run.task.backend, _lifetime_of(run, until)
    if longest and hasattr(backend, "get_key_for_task"):
        backend.expire(backend.get_key_for_task(run.run.id), longest)


def _lifetime_of(run: Scope, until: float) -> int | None:
    """Return how many seconds the state of a long wait must live; None for a short wait."""
    expires = lifetime(getattr(run.task.backend, "expires", None))
    longest = until - run.now()
    return int(longest + expires) if expires and longest > expires / 2 else None


def _has_stored_state(run: Scope) -> bool:
    """Whether this package has to store STARTED: Celery does not, and the run has a result."""
    return not (run.task.track_started or run.ignores_result)


def _store_started(run: Scope, backend: Any) -> None:
    meta = {"pid": os.getpid(), "hostname": run.request.get("hostname")}
    backend.store_result(run.run.id, meta, STARTED, request=Context(dict(run.request)))
