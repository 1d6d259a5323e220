"""A batch for RabbitMQ: all messages are sent, then one wait is for all confirms."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from weakref import WeakKeyDictionary

from kombu.exceptions import OperationalError
from kombu.utils.encoding import str_to_bytes

from celery_defer.broker.batch import Batch, ChannelClosedError
from celery_defer.broker.message import Wire
from celery_defer.ids import RunId

_CONFIRM_SECONDS = 10.0

_on_connections: WeakKeyDictionary[Any, Confirms] = WeakKeyDictionary()


class Confirms(Batch):
    """Tracks which messages of one channel the broker has confirmed.

    The channel is the package's own: py-amqp's ``confirm_publish`` waits after each message.
    """

    closes_on_rejection = True

    def __init__(self, producer: Any, connection: Any) -> None:
        self._connection = connection
        self.channel = channel = producer.connection.channel()
        super().__init__(
            type(producer)(channel, auto_declare=False, serializer=producer.serializer)
        )
        self._published = 0
        #: By the number of a message on this channel.
        self._open: dict[int, RunId] = {}
        self._latest: Any = None
        channel.confirm_select()
        channel._confirm_selected = True
        # With the user's `confirm_publish`, amqp.Channel.basic_publish waits; `_basic_publish`
        # does not.
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
        confirms.rejected.clear()
        return confirms

    @property
    def is_usable(self) -> bool:
        # A message that the broker refuses may close the channel; amqp.Channel._do_revive then
        # opens it again, without confirms.
        return bool(self.channel.is_open and self.channel._confirm_selected)

    @property
    def pending(self) -> Collection[RunId]:
        return set(self._open.values())

    def finish(self) -> None:
        while self._open:
            self._check()
            self._connection.drain_events(timeout=_CONFIRM_SECONDS)

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
        self._open[self._published] = self.current
        self._latest = message, route

    def _check(self) -> None:
        if not self.is_usable:
            raise ChannelClosedError("the broker has closed the channel")

    def _on_ack(self, tag: int, multiple: bool) -> None:
        self._close(tag, multiple)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        for id in self._close(tag, multiple):
            self.rejected[id] = OperationalError("the broker has not taken it")

    def _close(self, tag: int, multiple: bool) -> list[RunId]:
        tags = [number for number in self._open if number <= tag] if multiple else [tag]
        return [self._open.pop(number) for number in tags if number in self._open]
