"""The store in this process, for tests."""

from celery_defer.store.memory.outbox import MemoryStore

__all__ = ["MemoryStore"]
