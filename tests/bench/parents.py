"""Parents, one for each way to have follow-up work done, and the follow-ups."""

from __future__ import annotations

from datetime import datetime
from time import monotonic

from pydantic import BaseModel

from celery_defer import defer, deferred
from tests.bench.app import app, config, tell
from tests.bench.clock import called, returned
from tests.bench.payload import ORDER

#: Nobody consumes this queue: only what a parent pays is of interest.
SINK: str = config["sink"]


class Order(BaseModel):
    """Five fields, as `payload.ORDER` has them."""

    order_id: str
    lines: int
    total: float
    placed_at: datetime
    tags: list[str]


@deferred(schema=Order)
@app.task(name="bench.deferred", queue=SINK)
def deferred_task(order: Order) -> None: ...


@app.task(name="bench.plain", queue=SINK)
def plain_task(
    order_id: str, lines: int, total: float, placed_at: datetime, tags: list[str]
) -> None: ...


@deferred(schema=Order)
@app.task(name="bench.deferred_landing")
def deferred_landing(order: Order) -> None:
    tell(who="child", started=monotonic())


@app.task(name="bench.plain_landing")
def plain_landing(
    order_id: str, lines: int, total: float, placed_at: datetime, tags: list[str]
) -> None:
    tell(who="child", started=monotonic())


@app.task(name="bench.parent_defer")
def parent_defer(count: int) -> None:
    called()
    for number in range(count):
        defer(f"follow-{number}", deferred_task, **ORDER)
    returned()


@app.task(name="bench.parent_delay")
def parent_delay(count: int) -> None:
    called()
    for _ in range(count):
        plain_task.delay(**ORDER)
    returned()


@app.task(name="bench.parent_link")
def parent_link(count: int) -> None:
    """Do nothing: the links are on the message."""
    called()
    returned()


@app.task(name="bench.parent_landing")
def parent_landing(count: int) -> None:
    called()
    for number in range(count):
        defer(f"land-{number}", deferred_landing, **ORDER)
    returned()
