"""What any process may do to a run: abort, cancel or wake it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from celery_defer import guard, ids
from celery_defer.errors import DeferError, IdError, StoreError
from celery_defer.ids import RunId
from celery_defer.outbox import abort_call, cancel_run, has_ended
from celery_defer.run import extension_for
from celery_defer.steps import end_wait
from celery_defer.store import Store
from celery_defer.text import safe_repr


def abort(parent_id: str, defer_id: str, *, app: Any = None) -> bool:
    """Withdraw the call *defer_id* of the run *parent_id*, which may still be to come.

    Returns True if the deferred run will never start, or was parked and ends as REVOKED; False
    if it has started, or its parent has ended and has made no such call, or dropped it. A parent of
    which nothing is known may be in a queue, or in progress: its call is withdrawn too. Any process
    with the app may call this, at any time, and again; *app* is as in ``send_event``. Raises
    IdError for a bad id, and StoreError if the app has no Redis, or it does not reply.

    >>> abort(order.id, "reminder")
    """
    parent, name = run_id_of(parent_id), ids.check(defer_id)
    extension, store = extension_and_store(app)
    keep = extension.settings.outbox_keeps
    with replying(f"defer {name!r} of run {parent} is perhaps not aborted"):
        return abort_call(extension.app, store, keep, parent, name)


def cancel(run_id: str, *, terminate: bool = False, app: Any = None) -> bool:
    """End a run as REVOKED; return whether it was parked, and so has ended at once.

    A run in progress ends at its next step; with *terminate*, Celery kills its process, as
    ``AsyncResult.revoke(terminate=True)`` does. A run whose message is still in the queue does not
    start, and one of which nothing is known may be such a run. A run that has a result stays as it
    is. Any process with the app may call this, and again. Raises IdError for a bad id, and
    StoreError if the app has no Redis, or it does not reply.

    >>> cancel(handle.id)
    """
    return cancel_because(run_id_of(run_id), "", terminate=terminate, app=app)


def cancel_because(run: RunId, why: str, *, terminate: bool = False, app: Any = None) -> bool:
    """Cancel a run, and say why in its result, unless a person does it."""
    extension, store = extension_and_store(app)
    with replying(f"run {run} is perhaps not cancelled"):
        # Celery may store FAILURE for a worker that was killed after it had parked the run.
        if cancel_run(extension.app, store, run, only_parked=True, why=why):
            return True
        # REVOKED may be stored of a run in progress: by workers that do not have it.
        if has_ended(extension.app, run) and not (terminate and _may_go_on(store, run)):
            return False
        if cancel_run(extension.app, store, run, why=why):  # it has parked meanwhile
            return True
    extension.app.control.revoke(run, terminate=terminate)
    return False


def wake(run_id: str, *, app: Any = None) -> bool:
    """End the wait of a parked run now, as if its time was up; return False if it does not wait.

    A sleep ends, a wait for an event returns None unless an event comes first, and a step that is
    to be tried again is tried now. A run that a debounce holds back starts; one that stands in line
    for another limit stays there, and this returns False. Any process with the app may call this,
    and again; a worker then runs the run's next turn once. Raises StepError if the run waits for
    one that it has invoked, IdError for a bad id, and StoreError if the app has no Redis, or it
    does not reply.

    >>> wake(handle.id)
    """
    run = run_id_of(run_id)
    extension, _ = extension_and_store(app)
    with replying(f"run {run} is perhaps not woken"):
        return end_wait(extension, run)


def _may_go_on(store: Store, id: RunId) -> bool:
    (history,) = store.histories([id])
    return history is None or history.state.is_open


def run_id_of(id: object) -> RunId:
    """Return the id of a run; raise IdError if it cannot be one."""
    try:
        return RunId(ids.check(id))
    except IdError:
        raise IdError(
            f"{safe_repr(id)} is not the id of a run: give the text, such as result.id"
        ) from None


def extension_and_store(app: Any) -> tuple[Any, Store]:
    """Return the Defer of the app in use, and its store; raise StoreError."""
    extension = extension_for(app)
    if extension.store is None:
        raise StoreError
    return extension, extension.store


def replying(outcome: str) -> AbstractContextManager[None]:
    """Raise StoreError if the store or the result backend is away."""
    return guard.translated(
        lambda error: StoreError(
            f"{outcome}, because the store or the result backend is away "
            f"({type(error).__name__}: {error}): call this again when it is back"
        ),
        unless=DeferError,
    )
