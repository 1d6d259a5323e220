"""A product page is cached; a price that has been written drops it, one that was refused does not.

Run it with ``python -m examples.cache``.
"""

from decimal import Decimal

from celery import Celery

from celery_defer import Defer, defer, deferred
from examples.stage import REDIS_URL, Table

app = Celery("cache", broker=REDIS_URL, backend=REDIS_URL)
Defer(app)

prices = Table(app, "prices")  # stands for the database
cache = Table(app, "cache")


def page(product: str) -> str:
    """Answer the page of a product, from the cache if it is there."""
    if cached := cache.get(product):
        return f"{cached} (cached)"
    cache.put(product, made := f"{product}: {prices.get(product)} EUR")
    return made


@deferred(app)
def drop_page(product: str) -> None:
    cache.drop(product)


@app.task
def change_price(product: str, price: str) -> None:
    # Published when the run has succeeded: the price can be read by then, so no reader puts
    # the old page back. If the run fails, nothing is published.
    defer("page", drop_page, product=product)
    if Decimal(price) <= 0:
        raise ValueError(f"{price} is no price")
    prices.put(product, price)
