"""What one channel would have sent to a Redis, gathered to be sent as one."""

from __future__ import annotations

import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

from billiard.exceptions import SoftTimeLimitExceeded
from kombu.exceptions import OperationalError
from pydantic_core import from_json, to_json

from celery_defer.broker.batch import Arrival, Batch, Ride
from celery_defer.broker.message import Wire

__all__ = ["Gathering", "gather"]


def gather(producer: Any) -> Gathering | None:
    """Begin a batch on the channel of *producer*; None where kombu cannot send many as one."""
    channel = producer.channel
    gathering: Gathering | None = getattr(channel, "_celery_defer", None)
    if gathering is not None:
        gathering.begin()
    elif getattr(producer, "supports_batch_publish", False):  # kombu 5.7 with Redis
        gathering = channel._celery_defer = Gathering(producer)
    return gathering


class Gathering:
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
        self.opened = Batch(ours, self.send_with, self.last, self.put)

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
