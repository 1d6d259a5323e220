"""A batch: many messages that are published together."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from celery_defer.broker.message import Wire

#: The templates of one connection, by the app's router, which changes with `task_routes`.
Templates = WeakKeyDictionary[Any, Any]


class Batch:
    """A batch on any transport: each message is sent at once, by Celery.

    ``templates`` live as long as the connection.
    """

    def __init__(self, producer: Any) -> None:
        #: What it publishes goes into the batch.
        self.producer = producer
        self.templates: Templates = WeakKeyDictionary()

    def last(self) -> Wire | None:
        """Return the last message, if it can be a template for ``put``."""
        return None

    def put(self, wire: Wire) -> None:
        """Add a message as it is."""
        raise NotImplementedError

    def finish(self) -> None:
        """Send the rest; return when the broker has all messages, as far as it confirms that.

        Raises the transport's connection errors.
        """
