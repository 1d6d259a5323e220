"""How messages are published: in one batch, or as commands that the caller sends."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from celery_defer import guard
from celery_defer.broker.attempt import Attempt, log_rejected
from celery_defer.broker.batch import ChannelClosedError, RejectedError
from celery_defer.broker.capture import Capture
from celery_defer.broker.connection import (
    PATIENCE,
    bounded,
    connect,
    drop,
    errors_of,
)
from celery_defer.broker.delivery import Delivery
from celery_defer.broker.message import Message
from celery_defer.broker.sender import Sender, has_own_way
from celery_defer.commands import Commands, Server

logger = guard.logger(__name__)


def send(app: Any, messages: Sequence[Message], *, is_durable: bool = False) -> Delivery:
    """Publish *messages*; log those that could not be published.

    Connecting is retried by Celery's ``task_publish_retry_policy``. If a connection turns out to
    be lost, the messages are sent once more on a new one. With *is_durable*, RabbitMQ has confirmed
    the messages that are returned as sent.
    """
    if not messages:
        return Delivery()
    with app.producer_pool.acquire(block=True) as producer:
        return _send(app, producer, messages, is_durable)


def capture(app: Any, messages: Sequence[Message], server: Server) -> Commands | None:
    """Return the commands that publish *messages*, if the broker is that Redis server.

    None if it is another, cannot send many commands as one, or if a message is at fault; and for a
    task with its own ``apply_async``, which may remember what was never sent.
    """
    with app.producer_pool.acquire(block=True) as producer:
        connection = producer.connection
        if connection.transport.driver_type != "redis":
            return None
        try:
            connect(app, connection)
            with bounded(connection):
                batch = Capture.on(producer)
                if batch is None or batch.server != server or any(map(has_own_way, messages)):
                    return None
                sender = Sender(app, batch)
                if not all(map(sender.sends, messages)):
                    return None
                return batch.take()
        except RejectedError:  # the caller publishes them one by one
            return None
        except errors_of(connection) as error:
            logger.warning("the broker is away: %r", error)
            return None


def is_there(app: Any) -> bool:
    """Whether the broker can be reached, by Celery's own retries."""
    with app.producer_pool.acquire(block=True) as producer:
        try:
            connect(app, producer.connection)
        except errors_of(producer.connection):
            return False
        return True


def _send(app: Any, producer: Any, messages: Sequence[Message], is_durable: bool) -> Delivery:
    was_connected, began = producer.connection.connected, monotonic()
    attempt = Attempt(app, producer, messages)
    delivery = attempt.run(is_durable=is_durable)
    if attempt.problem is None:
        return delivery
    rest = [
        message.again(has_passed=message.id in attempt.passed)
        for message in messages
        if message.id in delivery.unsent
    ]
    if isinstance(attempt.problem, ChannelClosedError):
        if len(messages) == 1:
            log_rejected(messages, {messages[0].id: attempt.problem})
            reason = f"the broker refuses it: {attempt.problem}"
            return Delivery(refused=dict.fromkeys(delivery.unsent, reason))
        # One of them is at fault, and the broker does not say which.
        for half in filter(None, (rest[: len(rest) // 2], rest[len(rest) // 2 :])):
            delivery = delivery.then(_send(app, producer, half, is_durable))
        return delivery
    drop(producer)
    # Brokers and firewalls end idle connections. What has waited in vain is not tried again.
    if was_connected and monotonic() - began < PATIENCE:
        return delivery.then(_send(app, producer, rest, is_durable))
    logger.error("the broker is away: %r", attempt.problem)
    return delivery
