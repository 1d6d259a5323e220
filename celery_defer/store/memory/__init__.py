"""The store in this process, for tests: what each method does, as a plain program."""

from celery_defer.store.memory.outbox import MemoryStore

__all__ = ["MemoryStore"]
