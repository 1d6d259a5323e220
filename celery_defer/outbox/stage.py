"""What a run has deferred is staged, out of reach of a crash, before its result is stored."""

from __future__ import annotations

import logging
from typing import Any
from uuid import uuid4

from celery_defer import guard
from celery_defer.current import extension_of
from celery_defer.model import Outcome
from celery_defer.outbox import records
from celery_defer.outbox.records import DeferredCalls
from celery_defer.run import Scope
from celery_defer.store import Leased

logger = logging.getLogger(__name__)

_DAY = 86_400.0


def record_of(parent: Scope, verdict: Outcome | None) -> DeferredCalls:
    """Return what the run has deferred, as a record of the outbox."""
    return DeferredCalls(
        parent=parent.run.id,
        root=parent.run.root_id,
        task=parent.run.task,
        depth=parent.run.depth,
        verdict=verdict,
        at=parent.now(),
        inherited=_inherited(parent),
        calls=tuple(parent.buffer.waiting()),
    )


def lease_of(id: Any, record: DeferredCalls) -> Leased:
    """Return a record as it is staged, under a token of its own, leased to who stages it."""
    return Leased(id, uuid4().hex, records.pack(record), 1)


def stage(parent: Scope, lease: Leased, *, due: float, replaces: bool = True) -> bool:
    """Stage a record; False, and it is not staged, if one of another attempt is to stay.

    Raises what the store raises.
    """
    assert parent.store is not None  # noqa: S101
    # Longer than the relay waits, so that it is the relay that gives up, and says so.
    keep = parent.settings.outbox_keeps + _DAY
    return parent.store.stage(lease.id, lease.token, lease.body, due, keep, replaces=replaces)


def forget(parent: Scope) -> None:
    """Remove the record of an earlier attempt, which a crash has left, unless it succeeded."""
    if parent.store is None or parent.is_eager or has_succeeded(parent):
        return
    with guard.logged(logger, "run %s: the record of an earlier attempt stays", parent.run.id):
        parent.store.settle(parent.run.id, None)


def has_succeeded(parent: Scope) -> bool:
    """Whether a SUCCESS of the run is stored: what that attempt has deferred stands.

    Celery keeps a SUCCESS that is there, so no later attempt of the run has a result.
    """
    with guard.logged(logger, "the result of run %s cannot be read", parent.run.id):
        return parent.keeps_result and parent.task.AsyncResult(parent.run.id).successful()
    return False


def _inherited(parent: Scope) -> dict[str, Any]:
    """Return what Celery hands down from a run to the tasks that it sends."""
    inherited: dict[str, Any] = {}
    priority = (parent.request.get("delivery_info") or {}).get("priority")
    if priority is not None and extension_of(parent.app).inherits_priority:
        inherited["priority"] = priority
    if stamped := parent.request.get("stamped_headers"):
        stamps = parent.request.get("stamps") or {}
        inherited.update({name: stamps.get(name) for name in stamped}, stamped_headers=stamped)
    return inherited
