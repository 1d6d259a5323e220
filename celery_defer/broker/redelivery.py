"""Which brokers mark a message that they deliver again."""

from __future__ import annotations

from typing import Any

# kombu's other transports do not.
_MARKING = frozenset(
    {"amqp", "amqps", "pyamqp", "librabbitmq", "memory", "py-amqp"}
    | {"redis", "rediss", "redis+socket", "sentinel"}
)


def marks_redelivery(app: Any) -> bool:
    """Whether the app's broker marks redeliveries."""
    broker = app.conf.broker_read_url
    url = broker if isinstance(broker, str) else next(iter(broker or []), "")
    return url.partition("://")[0] in _MARKING
