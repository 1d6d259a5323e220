"""What a store promises about events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from celery_defer.ids import RunId
from celery_defer.store.values import (
    Emitted,
    Leased,
    Rest,
    SentEvent,
)


class Events(Protocol):
    """Events, and the runs that wait for them."""

    def emit(
        self,
        event: SentEvent,
        digests: Mapping[str, str],
        *,
        now: float,
        until: float,
        limit: int,
        keep: float,
        most: int,
        rest: Rest | None = None,
    ) -> Emitted:
        """Record an event, and lease at most *limit* of the runs that waited for it.

        *digests* has the digest of the event's values for each shape that the sender knows, empty
        if the event lacks a value. Runs that begin to wait within *keep* seconds receive the event
        too, if it is one of the newest *most* with the same values. If more than *limit* runs wait,
        or their records have more than ``MOST_BYTES``, call this again; *rest* is in the outbox
        then, due at once. A named event whose id was sent to all in the last day does nothing.
        """
        ...

    def past(
        self, name: str, digest: str, since: float, before: float, *, skip: int, limit: int
    ) -> list[SentEvent]:
        """Return events stored under a digest, in the order they were sent.

        They were sent from *since* to *before*; of these *skip* are left out, and at most *limit*
        returned.
        """
        ...

    def arrive(self, id: RunId, step: str, now: float, until: float) -> Leased | None:
        """Lease the record of a run that is parked at *step*, because its wait is over.

        None if the run is not parked there, or its record is leased already; if the holder of
        that lease postpones the record, it is due at *now*.
        """
        ...
