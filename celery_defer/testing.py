"""What suites import: the contract of a store, as tests."""

from __future__ import annotations

from celery_defer.store import MemoryStore
from celery_defer.store_contract import StoreContract

__all__ = ["MemoryStore", "StoreContract"]
