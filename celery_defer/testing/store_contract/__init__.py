"""The contract of a store, as tests."""

from __future__ import annotations

from celery_defer.testing.store_contract.events import EventContract
from celery_defer.testing.store_contract.histories import HistoryContract
from celery_defer.testing.store_contract.outbox import OutboxContract
from celery_defer.testing.store_contract.parking import ParkingContract
from celery_defer.testing.store_contract.repairs import RepairContract
from celery_defer.testing.store_contract.runs import RunContract
from celery_defer.testing.store_contract.scores import ScoreContract
from celery_defer.testing.store_contract.waits import WaitContract
from celery_defer.testing.store_contract.wakes import WakeContract

__all__ = ["StoreContract"]


class StoreContract(
    OutboxContract,
    RunContract,
    ParkingContract,
    WaitContract,
    WakeContract,
    EventContract,
    RepairContract,
    HistoryContract,
    ScoreContract,
):
    """Tests of what the store protocol promises.

    Inherit it in a test module, under a name that pytest collects, with a fixture ``store``
    that returns an empty store.

    >>> class TestMyStore(StoreContract):
    ...     @pytest.fixture
    ...     def store(self):
    ...         return MyStore()
    """
