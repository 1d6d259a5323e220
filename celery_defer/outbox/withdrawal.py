"""The way back: a deferred run that must not start is claimed, so that nobody starts it."""

from __future__ import annotations

import logging
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from celery.app.task import Context
from celery.backends.base import DisabledBackend

from celery_defer.ids import run_id
from celery_defer.model import CallState
from celery_defer.outbox import cancellation
from celery_defer.run.scope import Scope
from celery_defer.store import Store

__all__ = ["withdraw", "withdraw_from"]

logger = logging.getLogger(__name__)

#: Owns the runs that must not start; no publication has this token.
_NOBODY = "aborted"


def withdraw(app: Any, store: Store, keep: float, parent_id: str, defer_id: str) -> bool:
    """Make sure that a deferred run never starts, or ends parked; False if it is at work."""
    id = run_id(parent_id, defer_id)
    if _has_ended(app, id):  # its claim may have expired
        return False
    claim = store.claim(id, _NOBODY, keep)
    if cancellation.cancel(app, store, id, only_parked=True):  # perhaps its claim had expired
        return True
    if claim.is_mine:
        request = Context({"id": id, "parent_id": parent_id})
        outcome = {"defer_id": defer_id, "reason": None}
        app.backend.store_result(id, outcome, CallState.ABORTED.value, request=request)
    return claim.is_mine


def withdraw_from(parent: Scope, defer_id: str) -> bool:
    """Do what ``withdraw`` does, for a body that must not fail by it."""
    if parent.store is None:
        return False
    keep = parent.settings.outbox_keeps
    try:
        return withdraw(parent.app, parent.store, keep, parent.run.id, defer_id)
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        logger.exception("defer %r of run %s cannot be aborted", defer_id, parent.run.id)
        return False


def _has_ended(app: Any, id: str) -> bool:
    return not isinstance(app.backend, DisabledBackend) and app.AsyncResult(id).ready()
