"""The app whose bytes are counted: ``celery -A tests.bench.memory.app worker``."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from celery_defer import Concurrency, Defer, defer, deferred, step

__all__ = ["app"]

_URL = os.environ["BENCH_REDIS"]

app = Celery("memory", broker=_URL, backend=_URL)
app.conf.defer_record = bool(os.environ["BENCH_RECORD"])
Defer(app)


@app.task(name="plain")
def plain(**order: Any) -> str:
    return str(order["order_id"])


@deferred
@app.task(name="receipt")
def receipt(order_id: str, customer: str, email: str, currency: str, total: float) -> str:
    return order_id


@app.task(name="parent")
def parent(**order: Any) -> str:
    defer("receipt", receipt, **order)
    return str(order["order_id"])


@app.task(name="parent of ten")
def parent_of_ten(**order: Any) -> str:
    for number in range(10):
        defer(f"receipt-{number}", receipt, **order)
    return str(order["order_id"])


@app.task(name="waits")
def waits(order_id: str, **order: Any) -> None:
    step.wait_for_event("paid", "order/paid", timeout="7d", match={"order_id": order_id})


@app.task(name="sleeps")
def sleeps(**order: Any) -> None:
    step.sleep("a week", "7d")


@deferred(app, name="held", concurrency=Concurrency(1), limits="all")
def held(order_id: str, customer: str, email: str, currency: str, total: float) -> None:
    """Wait in line, for it is paused."""


@app.task(name="steps")
def steps(**order: Any) -> None:
    """Finish ten steps that return 100 bytes each, and wait."""
    for _ in range(10):
        step.run("look", lambda: "x" * 98)  # its quotes make it 100
    step.sleep("a week", "7d")
