"""The store in Redis 6.2 or newer: one script for each operation, in the folder ``lua``."""

from redis.exceptions import RedisError

from celery_defer.store.redis.store import RedisStore, hurry
from celery_defer.store.redis.transaction import Committed, commit

#: What the store raises if its server is away, or refuses something.
AWAY = (RedisError, OSError)

__all__ = ["AWAY", "Committed", "RedisStore", "commit", "hurry"]
