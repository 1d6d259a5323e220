"""What RabbitMQ has confirmed of a batch: all messages go, then there is one wait for all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from kombu.exceptions import OperationalError
from kombu.utils.encoding import str_to_bytes

from celery_defer.broker.batch import Batch
from celery_defer.broker.message import Wire

__all__ = ["Confirms", "confirmed"]

_CONFIRM_SECONDS = 10.0

_confirming: WeakKeyDictionary[Any, Confirms] = WeakKeyDictionary()


@contextmanager
def confirmed(producer: Any) -> Iterator[Confirms]:
    """Publish on a channel of our own, where the broker confirms what it has taken.

    py-amqp's own ``confirm_publish`` waits after each message.
    """
    connection = producer.connection.default_channel.connection
    confirms = _confirming.get(connection)
    if confirms is None or not confirms.is_usable:
        confirms = _confirming[connection] = Confirms(producer)
    confirms.begin()
    yield confirms
    confirms.wait(connection)


class Confirms:
    """Counts what one channel has published, and what the broker has confirmed of it."""

    def __init__(self, producer: Any) -> None:
        self.channel = channel = producer.connection.channel()
        ours = type(producer)(channel, auto_declare=False, serializer=producer.serializer)
        self.opened = Batch(ours, last=self.last, put=self.put)
        self._published = self._refused = 0
        self._open: set[int] = set()
        self._latest: Any = None
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

    def last(self) -> Wire | None:
        message, where = self._latest
        parts = dict(message.properties)
        headers = parts.pop("application_headers")
        kind = [parts.pop(part) for part in ("priority", "content_type", "content_encoding")]
        return Wire(str_to_bytes(message.body), headers, parts, (kind, where))

    def put(self, wire: Wire) -> None:
        kind, where = wire.way
        self._publish(
            self.channel.prepare_message(wire.body, *kind, wire.headers, wire.properties), **where
        )

    def _publish(self, message: Any, **where: Any) -> Any:
        self._check()
        self._published += 1
        self._open.add(self._published)
        self._latest = message, where
        return self.channel._basic_publish(message, **where)

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
