"""A small shop: an order is taken, and three things follow that must not hold it up.

Run it with ``celery -A examples.shop.app worker``; ``make demo`` does, over orders.csv.
"""

import os
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from celery import Celery
from pydantic import AwareDatetime, BaseModel, Field

from celery_defer import Defer, defer, deferred, set_tags, step
from examples.shop.services import MailServerDownError, Services

REDIS_URL = os.environ.get("SHOP_REDIS_URL", "redis://localhost:6379/0")

app = Celery("shop", broker=REDIS_URL, backend=REDIS_URL)
app.conf.result_extended = True  # a result also holds its arguments and retries
Defer(app)

services = Services(REDIS_URL)  # the warehouse, the mail, the page cache, the ledger


class Line(BaseModel):
    sku: str
    item: str
    quantity: int
    unit_price: Decimal


class Order(BaseModel):
    id: str
    placed_at: datetime
    customer: str
    email: str
    currency: str
    lines: list[Line]
    wants_review: bool = False

    @property
    def total(self) -> Decimal:
        return sum((line.quantity * line.unit_price for line in self.lines), Decimal(0))


# -- what may follow an order: each function says what it takes -----------------------


class Sale(BaseModel):
    order_id: str
    placed_at: AwareDatetime
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    total: Annotated[Decimal, Field(gt=0)]


class Receipt(BaseModel):
    email: Annotated[str, Field(pattern=r"^\S+@\S+$")]
    customer: str
    order_id: str
    lines: list[Line]


@deferred(schema=Sale)
@app.task
def record_sale(sale: Sale) -> None:
    services.enter_in_ledger(sale.model_dump_json())


@deferred(schema=Receipt)
@app.task(autoretry_for=(MailServerDownError,), default_retry_delay=1, max_retries=5)
def send_receipt(receipt: Receipt) -> None:
    items = "\n".join(f"{line.quantity} x {line.item}" for line in receipt.lines)
    services.mail(
        receipt.email,
        f"Dear {receipt.customer}, thank you for order {receipt.order_id}:\n{items}",
    )


@deferred(app)  # the short form: makes the Celery task too; its signature is the contract
def purge_cache(pages: list[str]) -> None:
    services.drop_from_cache(pages)


@deferred(app, acks_late=True, reject_on_worker_lost=True)  # as a run that waits should have
def ask_for_review(order_id: str, email: str) -> str:
    delivery = step.wait_for_event(
        "delivery", "parcel/delivered", timeout="14d", match={"order_id": order_id}
    )
    if delivery is None:
        return "not delivered"
    step.run("mail", services.mail, email, f"Order {order_id} has arrived. How do you like it?")
    return "asked"


# -- the order: any Celery task can defer; nothing is added to it ---------------------


@app.task(pydantic=True)
def process_order(order: Order) -> str:
    """Take an order; what it defers is published once it has succeeded, and only then."""
    set_tags({"order": order.id})  # by which all that follows is found
    defer(
        "analytics",
        record_sale,
        order_id=order.id,
        placed_at=order.placed_at,
        currency=order.currency,
        total=order.total,
    )
    defer(
        "receipt",
        send_receipt,
        email=order.email,
        customer=order.customer,
        order_id=order.id,
        lines=order.lines,
    )
    defer("cache", purge_cache, pages=[f"/products/{line.sku}" for line in order.lines])
    if order.wants_review:
        defer("review", ask_for_review, order_id=order.id, email=order.email)

    for line in order.lines:
        # May raise OutOfStockError: then the order fails, and nothing above is published.
        services.take_from_shelf(line.item, line.quantity)
    return order.id
