"""The app of workers whose runs end early: ``celery -A tests.worker.ending worker``.

The environment says the rest, as for tests.worker.stepping.
"""

from __future__ import annotations

import json
import os

from celery import Celery, current_task

from celery_defer import (
    CancelOn,
    Defer,
    Event,
    Throttle,
    Timeouts,
    defer,
    deferred,
    send_event,
    step,
)

CANCELLED = Event("order/cancelled", dict[str, str])
ON = CancelOn(CANCELLED, match={"order_id": "order_id"})

app = Celery("ending", set_as_current=True)
app.conf.update(
    task_default_queue=os.environ.get("DEFER_TEST_QUEUE", "celery"),
    broker_connection_retry_on_startup=True,
    **json.loads(os.environ.get("DEFER_TEST_CONFIG", "{}")),
)
Defer(app)


def mark(name: str) -> int:
    """Count, where a test can read it, that *name* happened to this run."""
    return int(app.backend.client.incr(f"{name}:{current_task.request.id}"))


def hold() -> None:
    """Stay in the worker until the test says go."""
    mark("held")
    app.backend.client.blpop(f"go:{current_task.request.id}", timeout=20)


@deferred(app, name="ends.packed", cancel_on=[ON], acks_late=True)
def packed(order_id: str) -> str:
    """Wait for long, at a step."""
    mark("began")
    step.sleep("nap", 600)
    return order_id


@deferred(app, name="ends.held", cancel_on=[ON], acks_late=True)
def held(order_id: str) -> str:
    """Stay in the worker, before a step."""
    mark("began")
    hold()
    step.run("send", mark, "sent")
    return order_id


@deferred(app, name="ends.short", timeouts=Timeouts(finish=2), acks_late=True)
def short(order_id: str) -> str:
    """Wait for longer than it may."""
    step.sleep("nap", 600)
    return order_id


@deferred(app, name="ends.paced", throttle=Throttle(1, "1h"), timeouts=Timeouts(start=2))
def paced(order_id: str) -> str:
    """Start once an hour, or not at all."""
    return order_id


@deferred(app, name="ends.punctual", timeouts=Timeouts(start=1))
def punctual(order_id: str) -> str:
    """Start soon, or not at all."""
    mark("began")
    return order_id


TASKS = {"packed": packed, "held": held, "short": short, "paced": paced, "punctual": punctual}


@app.task(name="ends.order")
def order(names: list[str], order_id: str, waits: bool = False) -> None:
    """Defer functions at once; then stay in the worker, if it is to."""
    for n, name in enumerate(names):
        function = TASKS[name].with_options(when="now")
        defer(f"{name}-{n}", function, order_id=order_id)
    if waits:
        hold()


@app.task(name="ends.noted")
def noted(failed: str) -> None:
    """Be the errback of a run."""
    app.backend.client.incr(f"noted:{failed}")


@app.task(name="ends.tell")
def tell(order_id: str) -> int:
    return send_event(CANCELLED, {"order_id": order_id}).cancelled
