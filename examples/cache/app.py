"""A product page is cached; a new price drops it from the cache, a refused price does not.

Run it with ``python -m examples.cache``.
"""

import os
from decimal import Decimal

from celery import Celery

from celery_defer import Defer, defer, deferred
from examples.cache.table import Table

REDIS_URL = os.environ.get("CACHE_REDIS_URL", "redis://localhost:6379/0")

app = Celery("cache", broker=REDIS_URL, backend=REDIS_URL)
Defer(app)

prices = Table(app, "prices")  # stands for the database
pages = Table(app, "pages")  # stands for the cache


def page(product: str) -> str:
    """Return the page of a product, from the cache if it is there."""
    if cached := pages.get(product):
        return f"{cached} (cached)"
    text = f"{product}: {prices.get(product)} EUR"
    pages.put(product, text)
    return text


@deferred(app)
def drop_page(product: str) -> None:
    pages.drop(product)


@app.task
def change_price(product: str, price: str) -> None:
    # Published when this run has succeeded. The new price can be read by then, so nobody puts
    # the old page back into the cache. If this run fails, nothing is published.
    defer("page", drop_page, product=product)
    if Decimal(price) <= 0:
        raise ValueError(f"{price} is no price")
    prices.put(product, price)
