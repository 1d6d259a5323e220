"""How a run ends that was cancelled: as REVOKED, for whoever waits for it or looks at it."""

from __future__ import annotations

import logging
from typing import Any

from celery.app.task import Context

from celery_defer.ids import RunId
from celery_defer.outbox import parked
from celery_defer.outbox.parked import Parked
from celery_defer.store import Store

__all__ = ["cancel", "end", "end_parked"]

logger = logging.getLogger(__name__)

_REASON = "cancelled"
# Seconds after which a relay ends what was cancelled, if who cancelled it has not.
_LEASE = 10.0


def end(app: Any, backend: Any, request: Any, *, stores: bool = True) -> None:
    """Do what celery.worker.request.Request._announce_revoked does for a run that has begun."""
    # A chord that the run is a part of fails by it.
    backend.mark_as_revoked(request.id, _REASON, request=request, store_result=stores)
    try:
        with app.events.default_dispatcher(hostname=request.hostname) as events:
            # celery.events.state.Task.event: any other state would be outranked by WAITING.
            events.send("task-retried", uuid=request.id)
            ended = {"terminated": False, "signum": None, "expired": False}
            # The result that Flower shows is for what the run has waited.
            events.send("task-revoked", uuid=request.id, result=_REASON, **ended)
    except Exception:
        logger.exception("run %s: no event tells that it was cancelled", request.id)


def cancel(app: Any, store: Store, id: RunId, *, only_parked: bool = False) -> bool:
    """Let no step of a run begin any more; answer whether it was parked, and has ended by this.

    If the end cannot be told, or this process dies, a relay wakes the run, which then ends.
    """
    extension = app._celery_defer
    until = extension.clock() + _LEASE
    keep = extension.settings.claim_keeps
    body = store.cancel(id, keep, until, only_parked=only_parked)
    if body is None:
        return False
    end_parked(app, parked.unpack(id, body))
    store.settle(id, None)
    return True


def end_parked(app: Any, run: Parked) -> None:
    """End a run that was taken out of the outbox."""
    options = run.options
    request = Context(
        id=run.parked,
        task=run.task,
        args=run.args,
        kwargs=run.kwargs,
        hostname=run.hostname,
        chain=options.get("chain"),
        chord=options.get("chord"),
        group=options.get("group_id"),
        group_index=options.get("group_index"),
        errbacks=options.get("link_error"),
        root_id=options.get("root_id"),
        parent_id=options.get("parent_id"),
        ignore_result=options.get("ignore_result"),
    )
    task = app.tasks.get(run.task)
    backend = app.backend if task is None else task.backend
    end(app, backend, request, stores=not options.get("ignore_result"))
