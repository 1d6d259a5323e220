"""One attempt to publish a batch of messages on one connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery_defer import guard
from celery_defer.broker.batch import Batch, ChannelClosedError
from celery_defer.broker.capture import Capture
from celery_defer.broker.confirms import Confirms
from celery_defer.broker.connection import Errors, bounded, connect, errors_of, rejections_of
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
        self._refused = set[RunId]()
        self._rejections = rejections_of(producer.connection)

    def run(self, *, is_durable: bool) -> Delivery:
        connection = self._producer.connection
        errors = errors_of(connection)
        try:
            connect(self._app, connection)
            with bounded(connection):
                self._publish(_open(self._producer, is_durable), errors)
        except self._rejections as error:  # of one message, while others were on their way
            self.problem = ChannelClosedError(f"{error}")
        except ChannelClosedError as error:
            self.problem = error
        except errors as error:
            self.problem = error
        ids = frozenset(message.id for message in self._messages)
        sent, refused = frozenset(self._sent), frozenset(self._refused)
        gone = sent | refused | self._dropped.keys()
        return Delivery(sent, refused, unsent=ids - gone, dropped=self._dropped)

    def _publish(self, batch: Batch, errors: Errors) -> None:
        sender = Sender(self._app, batch)
        self.passed, self._dropped = sender.passed, sender.dropped
        through: Errors = (ChannelClosedError, *self._rejections, *errors)
        try:
            for message in self._messages:
                batch.begin(message.id)
                try:
                    is_sent = sender.sends(message, through)
                except self._rejections as error:
                    if batch.closes_on_rejection and batch.pending:
                        raise
                    self._reject(batch, message, error)
                else:
                    (self._sent if is_sent else self._refused).add(message.id)
            batch.finish()
        finally:
            self._sent -= set(batch.pending) | batch.rejected.keys() | sender.dropped.keys()
        log_rejected(self._messages, batch.rejected)

    def _reject(self, batch: Batch, message: Message, error: Exception) -> None:
        """Note what the broker says of a message, before it was sent."""
        if batch.closes_on_rejection:
            log_rejected([message], {message.id: error})
            self._refused.add(message.id)
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
    return Batch(producer)
