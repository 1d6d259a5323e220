"""Flow control: who may start now. It decides only; the store counts."""

from celery_defer.flow.admission import Admission, Drop, Go, Later, Reason
from celery_defer.flow.ask import Ask
from celery_defer.flow.checks import Key
from celery_defer.flow.declared import (
    NAMES,
    Concurrencies,
    Idempotent,
    LimitOptions,
    Reach,
    celery_hint,
    take_limits,
)
from celery_defer.flow.ends import CancelOn, Timeouts
from celery_defer.flow.gate import Gate, Kind
from celery_defer.flow.limits import Limits
from celery_defer.flow.options import (
    Batch,
    Concurrency,
    Debounce,
    Idempotency,
    Priority,
    RateLimit,
    Singleton,
    Throttle,
)
from celery_defer.flow.payload import Payload

__all__ = [
    "NAMES",
    "Admission",
    "Ask",
    "Batch",
    "CancelOn",
    "Concurrencies",
    "Concurrency",
    "Debounce",
    "Drop",
    "Gate",
    "Go",
    "Idempotency",
    "Idempotent",
    "Key",
    "Kind",
    "Later",
    "LimitOptions",
    "Limits",
    "Payload",
    "Priority",
    "RateLimit",
    "Reach",
    "Reason",
    "Singleton",
    "Throttle",
    "Timeouts",
    "celery_hint",
    "take_limits",
]
