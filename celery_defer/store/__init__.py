"""Where runs are kept that wait to be published: one protocol, two stores."""

from typing import Protocol

from celery_defer.store.events import NO_SHAPE, Emitted, Rest, SentEvent, Subscription
from celery_defer.store.memory.outbox import MemoryStore
from celery_defer.store.protocol import Claim, OutboxStore, Quarantined, Taken
from celery_defer.store.redis.store import RedisStore
from celery_defer.store.runs import Arrival, Parking, Recalled, Resumed, Told, Verdict
from celery_defer.store.steps import Nudges, StepStore


class Store(OutboxStore, StepStore, Protocol):
    """All that the package keeps outside a process."""


__all__ = [
    "NO_SHAPE",
    "Arrival",
    "Claim",
    "Emitted",
    "MemoryStore",
    "Nudges",
    "Parking",
    "Quarantined",
    "Recalled",
    "RedisStore",
    "Rest",
    "Resumed",
    "SentEvent",
    "Store",
    "Subscription",
    "Taken",
    "Told",
    "Verdict",
]
