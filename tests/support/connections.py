"""What an app keeps open, closed: a connection left to the garbage collector is a warning."""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu import pools

__all__ = ["close", "close_pools"]


def close(app: Celery) -> None:
    """Close the connections of a client's app to its broker and to Redis as its backend."""
    consumer = app.backend.result_consumer
    consumer.stop()
    consumer.subscribed_to.clear()  # or a result, when it is collected, connects to unsubscribe
    app.backend.client.close()
    app.close()


def close_pools(app: Any) -> None:
    """Close an app's connections to its broker, of which kombu has one pool for a process.

    `kombu.pools.reset` would close those of all tests before; one that waits for an answer which
    does not come would hold it for ever.
    """
    with app.connection_for_write() as connection:
        for group in (pools.producers, pools.connections):
            group[connection].force_close_all()
            del group[connection]
