"""The connection to the broker: made, limited in how long it may take to reply, dropped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kombu import exceptions
from kombu.exceptions import OperationalError

from celery_defer import guard

Errors = tuple[type[Exception], ...]

#: Seconds for one read or write. Neither kombu nor py-amqp has a limit.
PATIENCE = 5.0

# kombu 5.7 has both the batch and its error.
_BATCH_ERRORS = tuple(filter(None, [getattr(exceptions, "BatchPublishError", None)]))
# The names by which libraries say that a service does not reply: of Python, redis-py, kombu, …
_OUTAGES = frozenset({"ConnectionError", "OperationalError", "TimeoutError"})
_POLICY = frozenset({"max_retries", "interval_start", "interval_step", "interval_max"})


def errors_of(connection: Any) -> Errors:
    """Return the errors that say that the broker is away."""
    kind = connection.get_transport_cls()
    of_kind = getattr(kind, "recoverable_connection_errors", kind.connection_errors)
    return OperationalError, *_BATCH_ERRORS, *of_kind


def rejections_of(connection: Any) -> Errors:
    """Return the errors by which a broker that is there refuses something."""
    return tuple(connection.channel_errors)


def is_outage(error: Exception) -> bool:
    """Whether an error says that some service does not reply, be it the broker or another."""
    return any(each.__name__ in _OUTAGES for each in type(error).__mro__)


def connect(app: Any, connection: Any) -> None:
    """Connect, with retries if Celery's settings say so: kombu.messaging.Producer.publish."""
    if connection.connected:
        return
    conf = app.conf
    policy = conf.task_publish_retry_policy if conf.task_publish_retry else {}
    if connection.transport.driver_type == "redis":
        # kombu.transport.redis.Channel reads it when it is made, and sends a PING.
        connection.transport_options.setdefault("socket_timeout", PATIENCE)
    # Also errors that kombu does not retry, such as a wrong password.
    with guard.translated(lambda error: OperationalError(f"{error!r}")):
        connection.ensure_connection(
            timeout=connection.connect_timeout,
            **{name: policy[name] for name in _POLICY & policy.keys()},
        )
        with bounded(connection):
            connection.default_channel  # noqa: B018  # opens it


@contextmanager
def bounded(connection: Any) -> Iterator[None]:
    """Limit each read and write of the block on a connection that is connected."""
    if connection.transport.driver_type == "redis":
        _limit(connection.default_channel.pool)
    # amqp.transport._AbstractTransport.having_timeout; other drivers have no such thing.
    transport: Any = getattr(connection.connection, "transport", None)
    if not hasattr(transport, "having_timeout"):
        yield
        return
    with transport.having_timeout(PATIENCE):
        yield


def drop(producer: Any) -> None:
    """Close a connection that is lost, so that the next use of *producer* makes another."""
    connection = producer.connection
    with suppress(OSError, *errors_of(connection)):
        if connection.connected:
            with bounded(connection):
                connection.collect()
    producer.revive(connection)


def _limit(pool: Any) -> None:
    """Limit the connections of a pool that other code has made."""
    if pool.connection_kwargs.get("socket_timeout") is None:
        pool.connection_kwargs["socket_timeout"] = PATIENCE
        pool.disconnect(inuse_connections=False)
        pool.reset()  # a connection of redis-py keeps its own limit
