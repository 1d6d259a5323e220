"""Where deferred calls are kept until they are published: one protocol, two stores."""

from celery_defer.store.memory import MemoryStore
from celery_defer.store.protocol import Claim, Quarantined, Store, Taken
from celery_defer.store.redis import RedisStore

__all__ = ["Claim", "MemoryStore", "Quarantined", "RedisStore", "Store", "Taken"]
