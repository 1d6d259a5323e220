"""How messages are published: in one batch, or as commands that the caller sends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kombu import exceptions
from kombu.exceptions import OperationalError

from celery_defer import guard
from celery_defer.broker.batch import Batch
from celery_defer.broker.capture import Capture
from celery_defer.broker.confirms import Confirms
from celery_defer.broker.delivery import Delivery
from celery_defer.broker.message import Message
from celery_defer.broker.sender import Sender
from celery_defer.commands import Commands, Server
from celery_defer.ids import RunId

logger = guard.logger(__name__)

_Errors = tuple[type[Exception], ...]

# kombu 5.7 has both the batch and its error.
_BATCH_ERRORS = tuple(filter(None, [getattr(exceptions, "BatchPublishError", None)]))


def send(app: Any, messages: Sequence[Message], *, is_durable: bool = False) -> Delivery:
    """Publish *messages*; log those that could not be published.

    The connection is retried by Celery's ``task_publish_retry_policy``. After that there are no
    retries, because a retry may be a second message. With *is_durable*, RabbitMQ has confirmed the
    messages that are returned as sent.
    """
    if not messages:
        return Delivery()
    delivery = _send(app, messages, is_durable)
    if not (delivery.refused and delivery.unsent):
        return delivery
    # On one bad message RabbitMQ closes the channel, with all messages not yet confirmed.
    rest = [message.again() for message in messages if message.id in delivery.unsent]
    others = send(app, rest, is_durable=is_durable)
    return Delivery(
        sent=delivery.sent | others.sent,
        refused=delivery.refused | others.refused,
        unsent=others.unsent,
    )


def capture(app: Any, messages: Sequence[Message], server: Server) -> Commands | None:
    """Return the commands that publish *messages*, if the broker is that Redis server.

    None if it is another, cannot send many commands as one, or if a message is at fault.
    """
    with app.producer_pool.acquire(block=True) as producer:
        errors = _connection_errors(producer)
        try:
            if producer.connection.transport.driver_type != "redis":
                return None
            _connect(app, producer.connection)
            batch = Capture.on(producer)
            if batch is None or batch.server != server:
                return None
            sender = Sender(app, batch)
            if not all(sender.sends(message, errors) for message in messages):
                return None
            return batch.take()
        except errors as error:
            logger.warning("the broker is away: %r", error)
            return None


def is_there(app: Any) -> bool:
    """Whether the broker can be reached, by Celery's own retries; log if it cannot."""
    with app.producer_pool.acquire(block=True) as producer:
        try:
            _connect(app, producer.connection)
        except _connection_errors(producer) as error:
            logger.error("the broker is away: %r", error)
            return False
        return True


def _send(app: Any, messages: Sequence[Message], is_durable: bool) -> Delivery:
    ids = frozenset(message.id for message in messages)
    delivery = Delivery(unsent=ids)
    with app.producer_pool.acquire(block=True) as producer:
        errors = _connection_errors(producer)
        try:
            _connect(app, producer.connection)
            batch = _open(producer, is_durable)
            delivery = _each(Sender(app, batch), messages, errors)
            batch.finish()
        except errors as error:
            logger.error("the broker is away: %r", error)
            return Delivery(refused=delivery.refused, unsent=ids - delivery.refused)
    return delivery


def _each(sender: Sender, messages: Sequence[Message], errors: _Errors) -> Delivery:
    sent, refused = set[RunId](), set[RunId]()
    try:
        for message in messages:
            (sent if sender.sends(message, errors) else refused).add(message.id)
    except errors as error:
        # Each further try would block the worker as long.
        logger.error("the broker is away: %r", error)
    rest = {message.id for message in messages} - sent - refused
    return Delivery(frozenset(sent), frozenset(refused), unsent=frozenset(rest))


def _open(producer: Any, is_durable: bool) -> Batch:
    if batch := Capture.on(producer):
        return batch
    if is_durable and producer.connection.transport.driver_type == "amqp":
        return Confirms.on(producer)
    return Batch(producer)


def _connect(app: Any, connection: Any) -> None:
    """Connect, with retries if Celery's settings say so: kombu.messaging.Producer.publish."""
    if connection.connected:
        return
    if app.conf.task_publish_retry:
        connection.transport_options.update(app.conf.task_publish_retry_policy)
    # Also errors that kombu does not retry, such as a wrong password.
    with guard.translated(lambda error: OperationalError(f"{error!r}")):
        connection.default_channel  # noqa: B018  # opens it


def _connection_errors(producer: Any) -> _Errors:
    connection = producer.connection
    return (
        OperationalError,
        *_BATCH_ERRORS,
        *connection.recoverable_connection_errors,
        *connection.recoverable_channel_errors,
    )
