"""What any process may do to a run that is not its own."""

from __future__ import annotations

from celery import current_app

from celery_defer import outbox
from celery_defer.errors import StoreError
from celery_defer.extension import extension_of

__all__ = ["abort"]


def abort(parent_id: str, defer_id: str) -> bool:
    """Withdraw what the run *parent_id* has deferred, or will defer, under *defer_id*.

    Answers True if the deferred run will never start, False if it has started. May be called
    from any process with the app, at any time, and again. Raises StoreError where the app has
    no Redis to keep this in.

    >>> abort(order.id, "reminder")
    """
    extension = extension_of(current_app)
    if extension is None:
        raise StoreError("the current Celery app has no Defer(app)")
    if extension.store is None:
        raise StoreError
    keep = extension.settings.outbox_keeps
    return outbox.withdraw(extension.app, extension.store, keep, parent_id, defer_id)
