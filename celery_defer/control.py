"""What any process may do to a run that is not its own."""

from __future__ import annotations

from celery_defer import apps, cancellation
from celery_defer.errors import StoreError
from celery_defer.extension import Defer
from celery_defer.ids import RunId
from celery_defer.store import Store
from celery_defer.withdrawal import withdraw

__all__ = ["abort", "cancel"]


def abort(parent_id: str, defer_id: str) -> bool:
    """Withdraw what the run *parent_id* has deferred, or will defer, under *defer_id*.

    Answers True if the deferred run will never start, or was parked and ends as REVOKED; False
    if it has started. May be called from any process with the app, at any time, and again.
    Raises StoreError where the app has no Redis to keep this in.

    >>> abort(order.id, "reminder")
    """
    extension, store = _extension()
    keep = extension.settings.outbox_keeps
    return withdraw(extension.app, store, keep, parent_id, defer_id)


def cancel(run_id: str, *, terminate: bool = False) -> bool:
    """End a run as REVOKED; answer whether it was parked, and so has ended at once.

    One that is at work ends at its next step; with *terminate* Celery's workers
    kill the process that it is in, as ``AsyncResult.revoke(terminate=True)`` does. One whose
    message is on its way does not start. May be called from any process with the app, and again.
    Raises StoreError where the app has no Redis.

    >>> cancel(handle.id)
    """
    extension, store = _extension()
    if cancellation.cancel(extension.app, store, RunId(run_id)):
        return True
    extension.app.control.revoke(run_id, terminate=terminate)
    return False


def _extension() -> tuple[Defer, Store]:
    extension: Defer = apps.in_use()._celery_defer
    if extension.store is None:
        raise StoreError
    return extension, extension.store
