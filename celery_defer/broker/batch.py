"""A batch: many messages that are published together."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from weakref import WeakKeyDictionary

from celery_defer.broker.message import Wire
from celery_defer.ids import RunId


class ChannelClosedError(Exception):
    """The broker has closed the channel because of one message, and does not say which."""


#: The templates of one connection, by the app's router, which changes with `task_routes`.
Templates = WeakKeyDictionary[Any, Any]


class Batch:
    """A batch on any transport: each message is sent at once, by Celery.

    ``templates`` live as long as the connection.
    """

    #: Whether a message that is refused closes the channel, with all that are on their way.
    closes_on_rejection = False

    def __init__(self, producer: Any) -> None:
        #: What it publishes goes into the batch.
        self.producer = producer
        self.templates: Templates = WeakKeyDictionary()
        #: The messages that the broker has refused, and why.
        self.rejected: dict[RunId, Exception] = {}
        self.current = RunId("")

    @property
    def pending(self) -> Collection[RunId]:
        """The messages that are published, and may not have arrived."""
        return ()

    def begin(self, id: RunId) -> None:
        """Note that the next message is that of the run *id*."""
        self.current = id

    def last(self) -> Wire | None:
        """Return the last message, if it can be a template for ``put``."""
        return None

    def put(self, wire: Wire) -> None:
        """Add a message as it is."""
        raise NotImplementedError

    def finish(self) -> None:
        """Send the rest; return when the broker has replied to all, as far as it does.

        Raises the transport's connection errors, and ChannelClosedError.
        """
