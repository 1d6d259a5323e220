"""What a store promises; ``celery_defer.testing.StoreContract`` tests it."""

from __future__ import annotations

from typing import Protocol

from celery_defer.store.protocol.batches import Batches
from celery_defer.store.protocol.events import Events
from celery_defer.store.protocol.flow import Flow
from celery_defer.store.protocol.histories import Histories
from celery_defer.store.protocol.outbox import Outbox
from celery_defer.store.protocol.runs import Runs
from celery_defer.store.protocol.scores import Scores
from celery_defer.store.protocol.watch import Watching


class Store(Outbox, Runs, Events, Histories, Scores, Batches, Watching, Flow, Protocol):
    """All that the package stores outside a process.

    Each method is atomic and one round trip. Times are in seconds, by the caller's clock; a store
    with a clock of its own takes from them only how far they are from the caller's now, so that a
    clock that is wrong decides nothing. The times at which the store got an event, began a run's
    steps or learned a shape are by its own clock: they come back to it as they are.

    *facts*, which go into the histories of runs, are written only if the method does what it is
    called for; if they cannot be written, it does that all the same.
    """
