"""Celery's broker, as the package publishes to it: many messages in one batch."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded
from kombu import exceptions
from kombu.exceptions import OperationalError

from celery_defer.broker.batch import Arrival, Batch, Ride
from celery_defer.broker.capture import gather
from celery_defer.broker.confirms import confirmed
from celery_defer.broker.message import Message
from celery_defer.broker.sender import Sender
from celery_defer.model import HEADER

__all__ = ["Sent", "batch", "connect", "connection_errors", "is_there", "send"]

logger = logging.getLogger(__name__)

_Errors = tuple[type[BaseException], ...]

# kombu 5.7 has both the batch and its error.
_BATCH_ERRORS = tuple(filter(None, [getattr(exceptions, "BatchPublishError", None)]))


@dataclass(frozen=True, slots=True)
class Sent:
    """What was not published: messages that are at fault, and those that found no broker."""

    refused: tuple[Message, ...] = ()
    unsent: tuple[Message, ...] = ()
    #: Waits for the reply, where *ride* went with the messages.
    arrival: Arrival | None = None


def send(
    app: Any, messages: Sequence[Message], *, is_durable: bool = False, ride: Ride = lambda _: None
) -> Sent:
    """Publish *messages*; log what could not be.

    The first one connects, with as many tries as Celery's ``task_publish_retry_policy`` says;
    after that nothing is tried twice, for a second try may be a second message. With
    *is_durable* RabbitMQ has confirmed what is answered as sent. *ride* goes with the batch
    if that is complete and the broker is a Redis.
    """
    if not messages:
        return Sent()
    sent = _send(app, messages, is_durable, ride)
    if not (sent.refused and sent.unsent):
        return sent
    # RabbitMQ closes a channel over one bad message, and with it what was not yet confirmed.
    rest = send(app, [_once_more(message) for message in sent.unsent], is_durable=is_durable)
    return Sent(refused=(*sent.refused, *rest.refused), unsent=rest.unsent)


def is_there(app: Any) -> bool:
    """Whether the broker answers, tried for as long as Celery would try; log if it does not."""
    with app.producer_pool.acquire(block=True) as producer:
        try:
            connect(app, producer.connection)
        except connection_errors(producer) as error:
            logger.error("the broker is away: %r", error)
            return False
        return True


def connect(app: Any, connection: Any) -> None:
    """Connect as kombu.messaging.Producer.publish does where Celery lets it retry."""
    if connection.connected:
        return
    if app.conf.task_publish_retry:
        connection.transport_options.update(app.conf.task_publish_retry_policy)
    try:
        connection.default_channel  # noqa: B018  # opens it
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:  # also what kombu deems hopeless, as a wrong password
        raise OperationalError(f"{error!r}") from error


def connection_errors(producer: Any) -> _Errors:
    connection = producer.connection
    return (
        OperationalError,
        *_BATCH_ERRORS,
        *connection.recoverable_connection_errors,
        *connection.recoverable_channel_errors,
    )


@contextmanager
def batch(producer: Any, is_durable: bool) -> Iterator[Batch]:
    """Open a batch: what is published by its producer goes as one, where the broker can.

    When the block ends, all has been sent; with *is_durable* it has arrived too, where the
    broker can tell. Raises the transport's connection errors where it has not.
    """
    if gathering := gather(producer):
        yield gathering.opened
        gathering.send()
    elif is_durable and producer.connection.transport.driver_type == "amqp":
        with confirmed(producer) as confirms:
            yield confirms.opened
    else:
        yield Batch(producer)


def _send(app: Any, messages: Sequence[Message], is_durable: bool, ride: Ride) -> Sent:
    sent = Sent()
    with app.producer_pool.acquire(block=True) as producer:
        errors = connection_errors(producer)
        try:
            connect(app, producer.connection)
            with batch(producer, is_durable) as opened:
                sent = _each(Sender(app, opened), messages, errors)
                complete = not sent.refused and not sent.unsent
                return replace(sent, arrival=opened.send_with(ride) if complete else None)
        except errors as error:
            logger.error("the broker is away: %r", error)
            unsent = tuple(message for message in messages if message not in sent.refused)
            return Sent(refused=sent.refused, unsent=unsent)


def _each(sender: Sender, messages: Sequence[Message], errors: _Errors) -> Sent:
    refused: list[Message] = []
    unsent = list(messages)
    try:
        while unsent:
            if not sender.sent(unsent[0], errors):
                refused.append(unsent[0])
            del unsent[0]
    except errors as error:
        # Each further try would block the worker for as long as this one did.
        logger.error("the broker is away: %r", error)
    return Sent(tuple(refused), tuple(unsent))


def _once_more(message: Message) -> Message:
    """Answer the message of another publication: the first may have arrived."""
    headers = message.options["headers"]
    token = headers.get(HEADER, {}).get("token", "")
    header = {**headers.get(HEADER, {}), "token": f"{token}.again"}
    return replace(message, options={**message.options, "headers": {**headers, HEADER: header}})
