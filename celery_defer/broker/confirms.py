"""What RabbitMQ has confirmed of a batch: all messages go, then there is one wait for all."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from kombu.exceptions import OperationalError
from kombu.utils.encoding import str_to_bytes

from celery_defer.broker.batch import Batch
from celery_defer.broker.message import Wire

_CONFIRM_SECONDS = 10.0

_on_connections: WeakKeyDictionary[Any, Confirms] = WeakKeyDictionary()


class Confirms(Batch):
    """Counts what one channel has published, and what the broker has confirmed of it.

    The channel is our own: py-amqp's ``confirm_publish`` waits after each message.
    """

    def __init__(self, producer: Any, connection: Any) -> None:
        self._connection = connection
        self.channel = channel = producer.connection.channel()
        super().__init__(
            type(producer)(channel, auto_declare=False, serializer=producer.serializer)
        )
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

    @classmethod
    def on(cls, producer: Any) -> Confirms:
        """Begin a batch on the connection of *producer*."""
        connection = producer.connection.default_channel.connection
        confirms = _on_connections.get(connection)
        if confirms is None or not confirms.is_usable:
            confirms = _on_connections[connection] = cls(producer, connection)
        confirms._open.clear()
        confirms._refused = 0
        return confirms

    @property
    def is_usable(self) -> bool:
        # A message that the broker cannot bear closes the channel; amqp.Channel._do_revive
        # then opens it anew, without confirms.
        return bool(self.channel.is_open and self.channel._confirm_selected)

    def finish(self) -> None:
        while self._open:
            self._check()
            self._connection.drain_events(timeout=_CONFIRM_SECONDS)
        if self._refused:
            raise OperationalError(f"the broker has refused {self._refused} messages")

    def last(self) -> Wire | None:
        message, route = self._latest
        parts = dict(message.properties)
        headers = parts.pop("application_headers")
        kind = [parts.pop(part) for part in ("priority", "content_type", "content_encoding")]
        return Wire(str_to_bytes(message.body), headers, parts, (kind, route))

    def put(self, wire: Wire) -> None:
        kind, route = wire.route
        self._publish(
            self.channel.prepare_message(wire.body, *kind, wire.headers, wire.properties), **route
        )

    def _publish(self, message: Any, **route: Any) -> None:
        self._check()
        # It first reads what has come, then writes; it may refuse a header, and writes nothing.
        self.channel._basic_publish(message, **route)
        self._published += 1
        self._open.add(self._published)
        self._latest = message, route

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
