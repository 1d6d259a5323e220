"""One attempt to publish a batch of messages on one connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery_defer import guard
from celery_defer.broker.batch import AwayError, Batch, ChannelClosedError, RejectedError
from celery_defer.broker.capture import Capture
from celery_defer.broker.confirms import Confirms
from celery_defer.broker.connection import bounded, connect, errors_of, rejections_of
from celery_defer.broker.delivery import Delivery
from celery_defer.broker.message import Message
from celery_defer.broker.sender import Sender
from celery_defer.ids import RunId

logger = guard.logger(__name__)


class Attempt:
    """Publishes messages; ``problem`` is the error that has ended it early."""

    def __init__(self, app: Any, producer: Any, messages: Sequence[Message]) -> None:
        self.problem: Exception | None = None
        #: The runs whose task's own ``apply_async`` has published them.
        self.passed: set[RunId] = set()
        self._dropped: dict[RunId, str] = {}
        self._app = app
        self._producer = producer
        self._messages = messages
        self._sent = set[RunId]()
        self._refused: dict[RunId, str] = {}
        self._rejections = rejections_of(producer.connection)

    def run(self, *, is_durable: bool) -> Delivery:
        connection = self._producer.connection
        try:
            connect(self._app, connection)
            with bounded(connection):
                self._publish(_open(self._producer, is_durable))
        except RejectedError as error:  # of one message, while others were on their way
            self.problem = ChannelClosedError(f"{error}")
        except self._rejections as error:
            self.problem = ChannelClosedError(f"{error}")
        except AwayError as error:
            self.problem = error.__cause__ if isinstance(error.__cause__, Exception) else error
        except errors_of(connection) as error:
            self.problem = error
        ids = frozenset(message.id for message in self._messages)
        gone = self._sent | self._refused.keys() | self._dropped.keys()
        return Delivery(
            frozenset(self._sent), self._refused, unsent=ids - gone, dropped=self._dropped
        )

    def _publish(self, batch: Batch) -> None:
        sender = Sender(self._app, batch)
        self.passed, self._dropped, self._refused = sender.passed, sender.dropped, sender.refused
        try:
            for message in self._messages:
                batch.begin(message.id, goes_first=message.goes_first)
                try:
                    if sender.sends(message):
                        self._sent.add(message.id)
                except RejectedError as error:
                    if batch.closes_on_rejection and batch.pending:
                        raise
                    self._reject(batch, message, error)
            batch.finish()
        finally:
            self._sent -= set(batch.pending) | batch.rejected.keys() | sender.dropped.keys()
        log_rejected(self._messages, batch.rejected)

    def _reject(self, batch: Batch, message: Message, error: Exception) -> None:
        """Note what the broker says of a message, before it was sent."""
        if batch.closes_on_rejection:
            log_rejected([message], {message.id: error})
            self._refused[message.id] = f"the broker refuses it: {error}"
        else:
            batch.rejected[message.id] = error


def log_rejected(messages: Sequence[Message], rejected: Mapping[RunId, Exception]) -> None:
    """Log what the broker says of messages, once for all of which it says the same."""
    for reason in {f"{error}": None for error in rejected.values()}:
        ids = [id for id, error in rejected.items() if f"{error}" == reason]
        first = next(message for message in messages if message.id == ids[0])
        logger.error(
            "the broker refuses %d messages, as that of run %s: %s",
            len(ids),
            first.id,
            reason,
            extra=first.about,
        )


def _open(producer: Any, is_durable: bool) -> Batch:
    if batch := Capture.on(producer):
        return batch
    if is_durable and producer.connection.transport.driver_type == "amqp":
        return Confirms.on(producer)
    return Batch(
        type(producer)(producer.channel, auto_declare=False, serializer=producer.serializer)
    )
