"""What any process may do to a run: abort or cancel it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from celery_defer import guard, ids
from celery_defer.errors import DeferError, IdError, StoreError
from celery_defer.ids import RunId
from celery_defer.outbox import abort_call, cancel_run
from celery_defer.run import extension_for
from celery_defer.store import Store
from celery_defer.text import safe_repr


def abort(parent_id: str, defer_id: str, *, app: Any = None) -> bool:
    """Withdraw the call *defer_id* of the run *parent_id*, which may still be to come.

    Returns True if the deferred run will never start, or was parked and ends as REVOKED; False
    if it has started. Any process with the app may call this, at any time, and again; *app* is as
    in ``send_event``. Raises IdError for a bad id, and StoreError if the app has no Redis, or it
    does not reply.

    >>> abort(order.id, "reminder")
    """
    parent, name = _run_id(parent_id), ids.check(defer_id)
    extension, store = _extension(app)
    keep = extension.settings.outbox_keeps
    with _replying(f"defer {name!r} of run {parent} is perhaps not aborted"):
        return abort_call(extension.app, store, keep, parent, name)


def cancel(run_id: str, *, terminate: bool = False, app: Any = None) -> bool:
    """End a run as REVOKED; return whether it was parked, and so has ended at once.

    A run in progress ends at its next step; with *terminate*, Celery kills its process, as
    ``AsyncResult.revoke(terminate=True)`` does. A run whose message is still in the queue does not
    start. Any process with the app may call this, and again. Raises IdError for a bad id, and
    StoreError if the app has no Redis, or it does not reply.

    >>> cancel(handle.id)
    """
    run = _run_id(run_id)
    extension, store = _extension(app)
    with _replying(f"run {run} is perhaps not cancelled"):
        is_ended = cancel_run(extension.app, store, run)
    if not is_ended:
        extension.app.control.revoke(run, terminate=terminate)
    return is_ended


def _run_id(id: object) -> RunId:
    try:
        return RunId(ids.check(id))
    except IdError:
        raise IdError(
            f"{safe_repr(id)} is not the id of a run: give the text, such as result.id"
        ) from None


def _extension(app: Any) -> tuple[Any, Store]:
    extension = extension_for(app)
    if extension.store is None:
        raise StoreError
    return extension, extension.store


def _replying(outcome: str) -> AbstractContextManager[None]:
    """Raise StoreError if the store or the result backend is away."""
    return guard.translated(
        lambda error: StoreError(
            f"{outcome}, because the store or the result backend is away "
            f"({type(error).__name__}: {error}): call this again when it is back"
        ),
        unless=DeferError,
    )
