"""A deferred function that something may end early, and the message of a run of it."""

from __future__ import annotations

from typing import Any

from celery import Celery

from celery_defer import CancelOn, defer, deferred, step
from tests.support.inside import Worker, parent_of

__all__ = ["STOP", "message_of", "ship_of"]

#: Compares the number of an order.
STOP = CancelOn("stop", {"order_id": "order_id"})


def message_of(app: Celery, worker: Worker, task: Any, **payload: Any) -> Any:
    """Let a parent defer a function, for order 7 unless said; return the message of its run."""
    payload = payload or {"order_id": 7}
    worker.run(parent_of(app, lambda: defer("child", task, **payload).id))
    (message,) = worker.published()
    return message


def ship_of(
    app: Celery, *, nap: float = 0, fails: bool = False, name: str = "ship", **options: Any
) -> Any:
    """Return a deferred function with these options, which may wait or fail first."""

    @deferred(app, name=name, shared=False, **options)
    def ship(order_id: int) -> int:
        if nap:
            step.sleep("nap", nap)
        if fails:
            raise ValueError("it fails")
        return order_id

    return ship
