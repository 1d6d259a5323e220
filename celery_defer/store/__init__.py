"""The store: one protocol, in memory and in Redis."""

from celery_defer.store.alarm import Alarm
from celery_defer.store.history import LISTED, Fact, History, Lists, Place, RunState
from celery_defer.store.match import Match, digests, match
from celery_defer.store.memory import MemoryStore
from celery_defer.store.owner import is_of_one_message, owner_of
from celery_defer.store.protocol import Store
from celery_defer.store.redis import AWAY, RedisStore, commit, hurry
from celery_defer.store.scores import Carried, ScoreRow
from celery_defer.store.values import (
    MOST_BYTES,
    NO_SHAPE,
    Arrival,
    Claim,
    Depth,
    Details,
    Emitted,
    Leased,
    OutboxRecord,
    Parking,
    Quarantined,
    Recalled,
    Rest,
    Restart,
    Resumed,
    SentEvent,
    Subscription,
    Verdict,
)

__all__ = [
    "AWAY",
    "LISTED",
    "MOST_BYTES",
    "NO_SHAPE",
    "Alarm",
    "Arrival",
    "Carried",
    "Claim",
    "Depth",
    "Details",
    "Emitted",
    "Fact",
    "History",
    "Leased",
    "Lists",
    "Match",
    "MemoryStore",
    "OutboxRecord",
    "Parking",
    "Place",
    "Quarantined",
    "Recalled",
    "RedisStore",
    "Rest",
    "Restart",
    "Resumed",
    "RunState",
    "ScoreRow",
    "SentEvent",
    "Store",
    "Subscription",
    "Verdict",
    "commit",
    "digests",
    "hurry",
    "is_of_one_message",
    "match",
    "owner_of",
]
