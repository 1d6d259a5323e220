"""The commands by which kombu would publish to a Redis, captured to be sent together."""

from __future__ import annotations

import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection
from functools import partial
from typing import Any
from uuid import uuid4

from kombu.exceptions import OperationalError
from pydantic_core import PydanticSerializationError, from_json, to_json

from celery_defer import guard
from celery_defer.broker.batch import Batch
from celery_defer.broker.message import Wire
from celery_defer.commands import Commands, database_of, server_of
from celery_defer.encoding import dumps
from celery_defer.ids import RunId


class Capture(Batch):
    """The commands that one channel would send to a Redis.

    kombu's ``Producer.batch`` makes a client and a pipeline each time, which takes longer than the
    rest of a publication. Here its batch (kombu.transport.redis.PublishBatch) stays open, with this
    object as its pipeline.
    """

    def __init__(self, producer: Any) -> None:
        self._channel = channel = producer.channel
        self._rows: list[tuple[RunId, str, str, Any]] = []
        self._latest = 0
        self._open()
        redirected: Any = _Redirected(channel, self._publish)
        super().__init__(
            type(producer)(redirected, auto_declare=False, serializer=producer.serializer)
        )

    @classmethod
    def on(cls, producer: Any) -> Capture | None:
        """Begin a batch on the channel of *producer*; None if kombu has no batches there."""
        channel = producer.channel
        capture: Capture | None = getattr(channel, "_defer_capture", None)
        if capture is not None:
            capture._rows.clear()
            capture.first.clear()
            capture.rejected.clear()
            capture._pipeline.reset()
        elif getattr(producer, "supports_batch_publish", False):  # kombu 5.7 with Redis
            capture = channel._defer_capture = cls(producer)
        return capture

    @property
    def server(self) -> Any:
        """The server of the messages; None behind sentinels."""
        return server_of(self._channel.pool.connection_kwargs)

    @property
    def pending(self) -> Collection[RunId]:
        return {id for id, *_ in self._rows}

    def take(self) -> Commands:
        """Return the commands so far, for the caller to send."""
        prefix, rows = self._channel.global_keyprefix, list[list[Any]]()
        for _, name, key, value in self._rows:
            if name == "lpush" and rows and rows[-1][:2] == [name, f"{prefix}{key}"]:
                rows[-1].append(value)  # one LPUSH takes many values
            else:
                rows.append([name, f"{prefix}{key}", value])
        self._rows.clear()
        return Commands(self.server, database_of(self._channel.pool.connection_kwargs), rows)

    def finish(self) -> None:
        if not self._rows:
            return
        rows = self._in_order()
        for _, name, key, value in rows:
            getattr(self._pipeline, name)(key, value)
        with guard.translated(
            lambda error: OperationalError(f"the messages may have arrived or not: {error!r}")
        ):
            replies = self._pipeline.execute(raise_on_error=False)
        for (id, *_), reply in zip(rows, replies, strict=True):
            if isinstance(reply, Exception):
                self.rejected[id] = reply
        self._rows.clear()

    def last(self) -> Wire | None:
        latest = self._rows[self._latest :]
        # A message has several commands if it goes into several queues, or one that expires.
        if [name for _, name, _, _ in latest] != ["lpush"]:
            return None
        [(_, _, key, value)] = latest
        message = from_json(value)
        body, headers, properties = (
            message.pop(part) for part in ("body", "headers", "properties")
        )
        if properties.pop("body_encoding", None) != "base64":
            return None
        del properties["delivery_tag"]
        return Wire(b64decode(body), headers, properties, (key, message))

    def put(self, wire: Wire) -> None:
        key, rest = wire.route
        tag = {"body_encoding": "base64", "delivery_tag": str(uuid4())}
        body, properties = b64encode(wire.body).decode(), {**wire.properties, **tag}
        message = {**rest, "body": body, "headers": wire.headers, "properties": properties}
        self._rows.append((self.current, "lpush", key, _json(message)))

    def _in_order(self) -> list[tuple[RunId, str, str, Any]]:
        """Return the commands, those last whose messages go first: workers take at the right."""
        rest, last = [], []
        for id, name, key, value in self._rows:
            if id in self.first and name == "lpush":
                last.append((id, "rpush", key, value))
            else:
                rest.append((id, name, key, value))
        return [*rest, *reversed(last)]

    # -- the pipeline of kombu's batch -----------------------------------------

    def __getattr__(self, command: str) -> Callable[[str, Any], None]:
        return partial(self._add, command)

    def _add(self, command: str, key: str, value: Any) -> None:
        self._rows.append((self.current, command, key, value))

    def reset(self) -> None:
        """Keep the commands: one message that fails must not remove the others."""

    def _open(self) -> None:
        self._session = self._channel.create_publish_batch(sys.maxsize)
        self._pipeline, self._session.pipeline = self._session.pipeline, self

    def _publish(self, message: Any, **route: Any) -> None:
        self._latest = len(self._rows)
        try:
            self._session.publish(message, **route)
        except BaseException:
            del self._rows[self._latest :]
            self._open()  # kombu's batch is unusable after a failure
            raise


class _Redirected:
    """A channel that publishes by another function."""

    def __init__(self, channel: Any, publish: Callable[..., object]) -> None:
        self._channel = channel
        self.basic_publish = publish

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


def _json(message: dict[str, Any]) -> str | bytes:
    try:
        return to_json(message)
    except PydanticSerializationError:  # a lone surrogate, which Celery's JSON escapes
        return dumps(message)
