"""A batch that is open: many messages on their way to a broker."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from celery_defer.broker.message import Wire

#: By the app's router, which it has another of when `task_routes` is set anew: what is known of its
#: messages on one connection.
Templates = WeakKeyDictionary[Any, Any]


class Batch:
    """A batch on any transport: each message is sent at once, and none can be written on another.

    What lives longer than one batch, as ``templates`` do, lives as long as its connection.
    """

    def __init__(self, producer: Any) -> None:
        #: What it publishes goes with the batch.
        self.producer = producer
        self.templates: Templates = WeakKeyDictionary()

    def last(self) -> Wire | None:
        """Return the message that was published last, if another can be ``put`` like it."""
        return None

    def put(self, wire: Wire) -> None:
        """Add a message as it is."""
        raise NotImplementedError

    def finish(self) -> None:
        """Send what is left; return when the broker has all, as far as it tells.

        Raises the transport's connection errors where it has not.
        """
