"""The values that a store takes and returns: records, runs, waits and events."""

from celery_defer.store.values.events import (
    AHEAD,
    DRIFT,
    NO_SHAPE,
    Emitted,
    Rest,
    SentEvent,
    Subscription,
)
from celery_defer.store.values.outbox import (
    MOST_BYTES,
    Claim,
    Depth,
    Details,
    Leased,
    OutboxRecord,
    Quarantined,
)
from celery_defer.store.values.runs import (
    Arrival,
    Parking,
    Recalled,
    Restart,
    Resumed,
    Verdict,
)

__all__ = [
    "AHEAD",
    "DRIFT",
    "MOST_BYTES",
    "NO_SHAPE",
    "Arrival",
    "Claim",
    "Depth",
    "Details",
    "Emitted",
    "Leased",
    "OutboxRecord",
    "Parking",
    "Quarantined",
    "Recalled",
    "Rest",
    "Restart",
    "Resumed",
    "SentEvent",
    "Subscription",
    "Verdict",
]
