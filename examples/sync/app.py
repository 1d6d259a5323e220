"""A shop calls a slow partner, keeps a search index, and writes down page views, within limits.

Run it with ``python -m examples.sync``. Workers run the same code:
``celery -A examples.sync.app worker --pool=threads --concurrency=16``.
"""

import os
from datetime import datetime, timezone
from time import sleep, time
from typing import TypedDict

from celery import Celery
from pydantic import BaseModel

from celery_defer import Batch, Concurrency, Debounce, Defer, Throttle, defer, deferred

REDIS_URL = os.environ.get("SYNC_REDIS_URL", "redis://localhost:6379/0")

app = Celery("sync", broker=REDIS_URL, backend=REDIS_URL)
# With Celery's defaults, a worker that is killed would lose the run.
app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True)
Defer(app)

#: What the partner allows: calls at a time for each customer, and starts in a second in all.
AT_A_TIME = Concurrency(2, key="customer")
IN_A_SECOND = Throttle(10, "1s")


class Call(TypedDict):
    """One call of the partner, in seconds since 1970."""

    customer: str
    order: int
    began: float
    ended: float


class View(BaseModel):
    page: str
    at: datetime


# -- a slow partner: concurrency for each customer, and a throttle -------------------------


@deferred(app, concurrency=AT_A_TIME, throttle=IN_A_SECOND)
def sync(customer: str, order: int) -> Call:
    """Send an order to the partner, who takes 0.4 seconds for it."""
    began = time()
    sleep(0.4)
    return Call(customer=customer, order=order, began=began, ended=time())


@app.task
def close_day(orders: dict[str, int]) -> None:
    """Send the orders of all customers to the partner."""
    for customer, number in orders.items():
        for order in range(number):
            defer(f"{customer}-{order}", sync, customer=customer, order=order)


# -- a search index: debounce ---------------------------------------------------------------


@deferred(app, debounce=Debounce("1s", key="product", timeout="10s"))
def index(product: str, price: str) -> str:
    """Put a product into the search index, which is slow, so only the last price counts."""
    return f"{product}: {price}"


@app.task
def change_price(product: str, price: str) -> str:
    """Change a price; the index follows when nobody has changed it for a second."""
    return defer("index", index, product=product, price=price).id


# -- a table of page views: batch -----------------------------------------------------------


@deferred(app, schema=View, batch=Batch(50, "1s"))
def write(views: list[View]) -> int:
    """Write page views to the table, in one statement; return how many."""
    return len(views)


@app.task
def open_pages(pages: list[str]) -> None:
    """Note that pages were opened."""
    for number, page in enumerate(pages):
        defer(f"view-{number}", write, page=page, at=datetime.now(timezone.utc))
