"""The contract of a store, as tests."""

from __future__ import annotations

from celery_defer.testing.store_contract.asking import AskContract
from celery_defer.testing.store_contract.batches import BatchContract
from celery_defer.testing.store_contract.debounces import DebounceContract
from celery_defer.testing.store_contract.events import EventContract
from celery_defer.testing.store_contract.experiments import ExperimentContract
from celery_defer.testing.store_contract.histories import HistoryContract
from celery_defer.testing.store_contract.limits import LimitContract
from celery_defer.testing.store_contract.lines import LineContract
from celery_defer.testing.store_contract.marks import MarkContract
from celery_defer.testing.store_contract.outbox import OutboxContract
from celery_defer.testing.store_contract.paces import PaceContract
from celery_defer.testing.store_contract.parking import ParkingContract
from celery_defer.testing.store_contract.places import PlaceContract
from celery_defer.testing.store_contract.repairs import RepairContract
from celery_defer.testing.store_contract.runs import RunContract
from celery_defer.testing.store_contract.scores import ScoreContract
from celery_defer.testing.store_contract.waits import WaitContract
from celery_defer.testing.store_contract.wakes import WakeContract
from celery_defer.testing.store_contract.watching import WatchingContract

__all__ = ["StoreContract"]


class StoreContract(
    OutboxContract,
    RunContract,
    ParkingContract,
    WaitContract,
    WakeContract,
    EventContract,
    WatchingContract,
    RepairContract,
    AskContract,
    LineContract,
    PlaceContract,
    PaceContract,
    DebounceContract,
    MarkContract,
    LimitContract,
    HistoryContract,
    ScoreContract,
    BatchContract,
    ExperimentContract,
):
    """Tests of what the store protocol promises.

    Inherit it in a test module, under a name that pytest collects, with a fixture ``store``
    that returns an empty store, and a fixture ``clock``: its ``now`` is the time by which the store
    decides, and it stands until ``clock.move(seconds)``.

    >>> class TestMyStore(StoreContract):
    ...     @pytest.fixture
    ...     def store(self):
    ...         return MyStore()
    """
