"""What tests import: an app that runs inside a test, and the contract of a store."""

from __future__ import annotations

from celery_defer.store import MemoryStore
from celery_defer.testing.force import force_variant
from celery_defer.testing.run import DeferredCall, SimulatedRun, SimulationError
from celery_defer.testing.simulation import Simulation
from celery_defer.testing.store_contract import StoreContract
from celery_defer.testing.waiting import Waiting

__all__ = [
    "DeferredCall",
    "MemoryStore",
    "SimulatedRun",
    "Simulation",
    "SimulationError",
    "StoreContract",
    "Waiting",
    "force_variant",
]
