"""How many messages go to a broker as one, and how it is known that they arrived."""

from __future__ import annotations

import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from billiard.exceptions import SoftTimeLimitExceeded
from kombu.exceptions import OperationalError
from kombu.utils.encoding import str_to_bytes
from pydantic_core import from_json, to_json

from celery_defer.message import Wire

__all__ = ["Arrival", "Batch", "Ride", "Send", "batch"]

#: Waits until what was sent has arrived; raises where that is not known.
Arrival = Callable[[], None]

#: Sends Redis commands, given one after the other as a name, a key and a value.
Send = Callable[[Sequence[Any]], Arrival]

#: Given how redis-py connects to the broker, answers what sends a batch together with something
#: of the caller's; None where they cannot go as one.
Ride = Callable[[Mapping[str, Any]], "Send | None"]

_CONFIRM_SECONDS = 10.0


#: What was found out of a broker, by whom it was found for.
Known = WeakKeyDictionary[Any, dict[Any, Any]]


def _nowhere(wire: Wire) -> None:
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that is open, and how to send it in company."""

    producer: Any
    #: Answers the wait for what it sends, or None where the caller has no company for it.
    send_with: Callable[[Ride], Arrival | None]
    #: Kept for as long as the connection.
    known: Known
    #: Answers the message that was published last, where another can be ``put`` on its pattern.
    last: Callable[[], Wire | None] = lambda: None
    put: Callable[[Wire], None] = _nowhere


@contextmanager
def batch(producer: Any, is_durable: bool) -> Iterator[Batch]:
    """Open a batch: what is published by its producer goes as one, where the broker can.

    When the block ends, all has been sent; with *is_durable* it has arrived too, where the
    broker can tell. Raises the transport's connection errors where it has not.
    """
    if gathering := _gathering(producer):
        yield gathering.opened
        gathering.send()
    elif is_durable and producer.connection.transport.driver_type == "amqp":
        with _confirmed(producer) as confirms:
            yield confirms.opened
    else:
        yield Batch(producer, _no_room, WeakKeyDictionary())


def _no_room(ride: Ride) -> None:  # noqa: ARG001
    return None


# -- Redis: all messages in one command --------------------------------------------------------


def _gathering(producer: Any) -> _Gathering | None:
    channel = producer.channel
    gathering: _Gathering | None = getattr(channel, "_celery_defer", None)
    if gathering is not None:
        gathering.begin()
    elif getattr(producer, "supports_batch_publish", False):  # kombu 5.7 with Redis
        gathering = channel._celery_defer = _Gathering(producer)
    return gathering


class _Gathering:
    """What one channel would have sent, gathered to be sent as one.

    kombu's own ``Producer.batch`` makes a client and a pipeline each time, which takes longer
    than the rest of a publication. Here its batch stays open, and puts into us what it would
    put into its pipeline.
    """

    def __init__(self, producer: Any) -> None:
        self._channel = channel = producer.channel
        self._commands: list[Any] = []
        self._latest = 0
        self._open()
        ours = type(producer)(
            _Redirected(channel, self._publish), auto_declare=False, serializer=producer.serializer
        )
        self.opened = Batch(ours, self.send_with, WeakKeyDictionary(), self.last, self.put)

    def begin(self) -> None:
        self._commands.clear()
        self._pipeline.reset()

    def _open(self) -> None:
        self._session = self._channel.create_publish_batch(sys.maxsize)
        self._pipeline, self._session.pipeline = self._session.pipeline, self

    def _publish(self, message: Any, **where: Any) -> None:
        self._latest = len(self._commands)
        try:
            self._session.publish(message, **where)
        except BaseException:
            del self._commands[self._latest :]
            self._open()  # kombu's batch takes nothing more after a failure
            raise

    def __getattr__(self, command: str) -> Callable[[str, Any], None]:
        return partial(self._add, command)

    def _add(self, command: str, key: str, value: Any) -> None:
        self._commands += (command, key, value)

    def reset(self) -> None:
        """Keep what is there: one message that fails holds back no other."""

    def last(self) -> Wire | None:
        latest = self._commands[self._latest :]
        # A message may be several commands: into several queues, or into one that expires.
        if latest[::3] != ["lpush"]:
            return None
        _, key, value = latest
        message = from_json(value)
        body, headers, properties = (
            message.pop(part) for part in ("body", "headers", "properties")
        )
        if properties.pop("body_encoding", None) != "base64":
            return None
        del properties["delivery_tag"]
        return Wire(b64decode(body), headers, properties, (key, message))

    def put(self, wire: Wire) -> None:
        key, rest = wire.way
        tag = {"body_encoding": "base64", "delivery_tag": str(uuid4())}
        body, properties = b64encode(wire.body).decode(), {**wire.properties, **tag}
        message = {**rest, "body": body, "headers": wire.headers, "properties": properties}
        self._add("lpush", key, to_json(message))

    def send_with(self, ride: Ride) -> Arrival | None:
        """Send all so far by what *ride* answers, if it answers something."""
        send = ride(self._channel.pool.connection_kwargs)
        if send is None:
            return None
        with self._sending():
            arrive = send(self._with_prefix())

        def wait() -> None:
            with _telling_of_doubt():
                arrive()

        return wait

    def send(self) -> None:
        """Send all so far in a pipeline of kombu's."""
        if not self._commands:
            return
        for start in range(0, len(self._commands), 3):
            name, key, value = self._commands[start : start + 3]
            getattr(self._pipeline, name)(key, value)
        with self._sending():
            self._pipeline.execute()

    @contextmanager
    def _sending(self) -> Iterator[None]:
        try:
            with _telling_of_doubt():
                yield
        finally:
            self._commands.clear()

    def _with_prefix(self) -> list[Any]:
        if prefix := self._channel.global_keyprefix:
            self._commands[1::3] = [f"{prefix}{key}" for key in self._commands[1::3]]
        return self._commands


@contextmanager
def _telling_of_doubt() -> Iterator[None]:
    try:
        yield
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        raise OperationalError(f"the messages may have arrived or not: {error!r}") from error


class _Redirected:
    """A channel that publishes elsewhere."""

    def __init__(self, channel: Any, publish: Callable[..., object]) -> None:
        self._channel = channel
        self.basic_publish = publish

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


# -- RabbitMQ: all messages, then one wait for all confirms -----------------------------------

_confirming: WeakKeyDictionary[Any, _Confirms] = WeakKeyDictionary()


@contextmanager
def _confirmed(producer: Any) -> Iterator[_Confirms]:
    """Publish on a channel of our own, where the broker confirms what it has taken.

    py-amqp's own ``confirm_publish`` waits after each message.
    """
    connection = producer.connection.default_channel.connection
    confirms = _confirming.get(connection)
    if confirms is None or not confirms.is_usable:
        confirms = _confirming[connection] = _Confirms(producer)
    confirms.begin()
    yield confirms
    confirms.wait(connection)


class _Confirms:
    """Counts what one channel has published, and what the broker has confirmed of it."""

    def __init__(self, producer: Any) -> None:
        self.channel = channel = producer.connection.channel()
        ours = type(producer)(channel, auto_declare=False, serializer=producer.serializer)
        self.opened = Batch(ours, _no_room, WeakKeyDictionary(), self.last, self.put)
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
