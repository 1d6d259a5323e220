"""How many messages go to a broker as one, and how it is known that they arrived."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from kombu.exceptions import OperationalError

__all__ = ["Ride", "batch"]

#: Given a Redis pipeline that is about to be executed, adds a command of the caller's to it;
#: answers whether that was possible.
Ride = Callable[[Any], bool]

# One pipeline for all that a run has deferred: kombu flushes a full one at once, and what
# rides along would then stay behind.
_SIZE = sys.maxsize
_CONFIRM_SECONDS = 10.0


@contextmanager
def batch(producer: Any, is_durable: bool) -> Iterator[tuple[Any, Callable[[Ride], bool]]]:
    """Open a batch: gives the producer to publish with, and the way to take a command along.

    When the block ends, all has been sent; with *is_durable* it has arrived too, where the
    broker can tell. Raises the transport's connection errors where it has not.
    """
    if getattr(producer, "supports_batch_publish", False):  # kombu 5.7 with Redis
        with producer.batch(_SIZE) as pipelined:
            yield producer, lambda ride: _take_along(pipelined, ride)
    elif is_durable and producer.connection.transport.driver_type == "amqp":
        with _confirmed(producer) as confirming:
            yield confirming, _no_room
    else:
        yield producer, _no_room


def _no_room(ride: Ride) -> bool:  # noqa: ARG001
    return False


def _take_along(pipelined: Any, ride: Ride) -> bool:
    # kombu.messaging._ProducerBatch.state.session is the transport's PublishBatch.
    session = getattr(getattr(pipelined, "state", None), "session", None)
    pipeline = getattr(session, "pipeline", None)
    return pipeline is not None and ride(pipeline)


# -- RabbitMQ: all messages, then one wait for all confirms -----------------------------------

_confirming: WeakKeyDictionary[Any, _Confirms] = WeakKeyDictionary()


@contextmanager
def _confirmed(producer: Any) -> Iterator[Any]:
    """A producer on a channel of our own, where the broker confirms what it has taken.

    py-amqp's own ``confirm_publish`` waits after each message.
    """
    connection = producer.connection.default_channel.connection
    confirms = _confirming.get(connection)
    if confirms is None or not confirms.is_usable:
        confirms = _confirming[connection] = _Confirms(producer.connection.channel())
    confirms.begin()
    yield type(producer)(confirms.channel, auto_declare=False, serializer=producer.serializer)
    confirms.wait(connection)


class _Confirms:
    """Counts what one channel has published, and what the broker has confirmed of it."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self._published = self._refused = 0
        self._open: set[int] = set()
        channel.confirm_select()
        channel._confirm_selected = True
        # amqp.Channel.basic_publish is replaced by one that waits where the user has set
        # `confirm_publish`; what it was is `_basic_publish`.
        channel.basic_publish = self._publish
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)

    @property
    def is_usable(self) -> bool:
        # A message that the broker cannot bear closes the channel; amqp.Channel._do_revive
        # then opens it anew, without confirms.
        return bool(self.channel.is_open and self.channel._confirm_selected)

    def begin(self) -> None:
        self._open.clear()
        self._refused = 0

    def wait(self, connection: Any) -> None:
        while self._open:
            self._check()
            connection.drain_events(timeout=_CONFIRM_SECONDS)
        if self._refused:
            raise OperationalError(f"the broker has refused {self._refused} messages")

    def _publish(self, *args: Any, **kwargs: Any) -> Any:
        self._check()
        self._published += 1
        self._open.add(self._published)
        return self.channel._basic_publish(*args, **kwargs)

    def _check(self) -> None:
        if not self.is_usable:
            raise OperationalError("the broker has closed the channel")

    def _on_ack(self, tag: int, multiple: bool) -> None:
        if multiple:
            self._open = {number for number in self._open if number > tag}
        else:
            self._open.discard(tag)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        before = len(self._open)
        self._on_ack(tag, multiple)
        self._refused += before - len(self._open)
