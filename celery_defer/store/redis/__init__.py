"""The store in Redis 6.2 or newer: one script for each operation, in the folder ``lua``."""

from celery_defer.store.redis.store import RedisStore
from celery_defer.store.redis.transaction import commit

__all__ = ["RedisStore", "commit"]
