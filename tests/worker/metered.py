"""The app of workers and of a Flower that are scraped: ``celery -A tests.worker.metered worker``.

CELERY_BROKER_URL and CELERY_RESULT_BACKEND say where; DEFER_TEST_QUEUE is the default queue, and
DEFER_TEST_METRICS the port of a worker's metrics.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from celery_defer import Defer, defer, deferred, step
from celery_defer.prometheus import install

app = Celery("metered", set_as_current=True)
app.conf.update(
    task_default_queue=os.environ.get("DEFER_TEST_QUEUE", "celery"),
    broker_connection_retry_on_startup=True,
    defer_relay_interval=0.2,
    defer_key_prefix="metered:",
)
Defer(app)

port = os.environ.get("DEFER_TEST_METRICS")
install(app, port=int(port) if port else None, addr="127.0.0.1")


@deferred
@app.task(name="metered.receipt", acks_late=True, reject_on_worker_lost=True)
def receipt(order_id: int) -> int:
    step.sleep("a moment", 0.5)
    return order_id


@app.task(name="metered.order")
def order(count: int) -> dict[str, Any]:
    for n in range(count):
        defer(f"receipt-{n}", receipt, order_id=n)
    defer("bad", receipt, order_id="seven")
    return {"pid": os.getpid()}
