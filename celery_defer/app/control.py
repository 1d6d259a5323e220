"""What any process may do to a run that is not its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from celery.exceptions import SoftTimeLimitExceeded

from celery_defer import current as apps
from celery_defer import ids
from celery_defer.app.extension import Defer
from celery_defer.errors import DeferError, IdError, StoreError
from celery_defer.ids import RunId
from celery_defer.outbox import cancellation
from celery_defer.outbox.withdrawal import withdraw
from celery_defer.store import Store
from celery_defer.text import safe_repr

__all__ = ["abort", "cancel"]


def abort(parent_id: str, defer_id: str) -> bool:
    """Withdraw what the run *parent_id* has deferred, or will defer, under *defer_id*.

    Answers True if the deferred run will never start, or was parked and ends as REVOKED; False
    if it has started. May be called from any process with the app, at any time, and again.
    Raises IdError for what is no id, and StoreError where the app has no Redis to keep this in,
    or it does not answer.

    >>> abort(order.id, "reminder")
    """
    parent, name = _run_id(parent_id), ids.check(defer_id)
    extension, store = _extension()
    keep = extension.settings.outbox_keeps
    with _telling(f"defer {name!r} of run {parent} is perhaps not aborted"):
        return withdraw(extension.app, store, keep, parent, name)


def cancel(run_id: str, *, terminate: bool = False) -> bool:
    """End a run as REVOKED; answer whether it was parked, and so has ended at once.

    One that is at work ends at its next step; with *terminate* Celery's workers
    kill the process that it is in, as ``AsyncResult.revoke(terminate=True)`` does. One whose
    message is on its way does not start. May be called from any process with the app, and again.
    Raises IdError for what is no id, and StoreError where the app has no Redis, or it does not
    answer.

    >>> cancel(handle.id)
    """
    run = _run_id(run_id)
    extension, store = _extension()
    with _telling(f"run {run} is perhaps not cancelled"):
        is_ended = cancellation.cancel(extension.app, store, run)
    if not is_ended:
        extension.app.control.revoke(run, terminate=terminate)
    return is_ended


def _run_id(given: object) -> RunId:
    try:
        return RunId(ids.check(given))
    except IdError:
        shown = safe_repr(given)
        raise IdError(f"{shown} is no id of a run: give the text, such as result.id") from None


def _extension() -> tuple[Defer, Store]:
    extension: Defer = apps.in_use()._celery_defer
    if extension.store is None:
        raise StoreError
    return extension, extension.store


@contextmanager
def _telling(outcome: str) -> Iterator[None]:
    """Raise StoreError where the store, or the backend with the runs' results, is away."""
    try:
        yield
    except (DeferError, SoftTimeLimitExceeded):
        raise
    except Exception as error:
        raise StoreError(
            f"{outcome}, for the store or the result backend is away "
            f"({type(error).__name__}: {error}): call this again when it is back"
        ) from error
