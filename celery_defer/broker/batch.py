"""A batch: many messages that are published together."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from kombu.exceptions import OperationalError

from celery_defer.broker.connection import errors_of, rejections_of
from celery_defer.broker.message import Wire
from celery_defer.ids import RunId


class BrokerError(OperationalError):
    """The broker has not taken a message that was made."""


class AwayError(BrokerError):
    """The broker is away."""


class RejectedError(BrokerError):
    """The broker refuses this message; the cause is what it says."""


class ChannelClosedError(BrokerError):
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
        # kombu.messaging.Producer.publish makes a message, which may raise anything, and sends it
        # by this method.
        producer._publish = partial(self.send, producer._publish)
        self.templates: Templates = WeakKeyDictionary()
        #: The messages that the broker has refused, and why.
        self.rejected: dict[RunId, Exception] = {}
        #: Those that go before others, where the broker can do that.
        self.first: set[RunId] = set()
        self.current = RunId("")

    @property
    def pending(self) -> Collection[RunId]:
        """The messages that are published, and may not have arrived."""
        return ()

    def send(self, put: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Send a message that is made, by *put*; raise BrokerError if the broker does not take it.

        Only here can an error say that the broker is away.
        """
        try:
            return put(*args, **kwargs)
        except BrokerError:
            raise
        except errors_of(self.producer.connection) as error:
            raise AwayError(f"{error!r}") from error
        except rejections_of(self.producer.connection) as error:
            raise RejectedError(f"{error}") from error

    def begin(self, id: RunId, *, goes_first: bool = False) -> None:
        """Note that the next message is that of the run *id*, and perhaps goes before others."""
        self.current = id
        if goes_first:
            self.first.add(id)

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
