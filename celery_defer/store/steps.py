"""What a store promises of runs that have steps, and of the events that they wait for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from celery_defer.ids import RunId
from celery_defer.store.events import Emitted, Rest, SentEvent, Subscription
from celery_defer.store.protocol import Taken
from celery_defer.store.runs import Arrival, Parking, Recalled, Resumed, Told

__all__ = ["Nudges", "StepStore"]


class Nudges(Protocol):
    """Wakes a relay before its next look, when something becomes due earlier."""

    def wait(self, seconds: float) -> float | None:
        """Wait so long, or until a run was parked; answer when that is due."""
        ...

    def close(self) -> None: ...


class StepStore(Protocol):
    """Each method is atomic and one round trip; times are seconds, by the caller's clock."""

    # -- runs -----------------------------------------------------------------------

    def recall(self, id: RunId, now: float | None, keep: float) -> Recalled:
        """Answer what is known of the run, which is seen first *now* if nothing is."""
        ...

    def resume(
        self, id: RunId, turn: int, owner: str, keep: float, told: Told | None = None
    ) -> Resumed:
        """Do what ``claim`` and ``recall`` do, for one turn of the run.

        Who gets the turn has *told* written, if that Redis is the store's.

        The owner is empty if the run is not in that turn: it has gone on, or is forgotten.
        """
        ...

    def remember(self, id: RunId, memos: Mapping[str, bytes], keep: float) -> bytes:
        """Keep the memos of steps that have none; answer which the last of them has then.

        There is at least one.
        """
        ...

    def tells(self, told: Told) -> bool:
        """Answer whether ``resume`` and ``park`` write *told*, as that Redis is the store's."""
        ...

    def park(
        self, id: RunId, parking: Parking, now: float, keep: float, told: Told | None = None
    ) -> Arrival:
        """End the run's turn and put its record into the outbox.

        Not if the step has a memo; nor if the event that it waits for was sent already, and
        was not received by the run: that is kept as the step's memo then. Nor if nobody has
        looked for events that were sent before they were kept by such values; from now on they
        are. *keep* is in seconds from now. Of a run that parks *told* is written, if the store
        can do so.
        """
        ...

    def give_up(
        self, id: RunId, step: str, wait: Subscription, nothing: bytes, keep: float
    ) -> bytes:
        """End a wait whose time is up; answer the memo that the step has then.

        That is *nothing*, unless an event was faster: also one whose sender has died before it
        came to this run.
        """
        ...

    def cancel(
        self, id: RunId, keep: float, until: float, *, only_parked: bool = False
    ) -> bytes | None:
        """Let no step of the run begin any more; answer its record if it was parked.

        The record stays, as one that is leased until then: who cancels ends the run, and settles.
        With *only_parked*, a run that is not is left alone.
        """
        ...

    def next_due(self) -> float | None:
        """Answer when the next record in the outbox is due."""
        ...

    def nudges(self) -> Nudges:
        """Answer what tells of records that are parked from now on."""
        ...

    # -- events ---------------------------------------------------------------------

    def emit(
        self,
        event: SentEvent,
        digests: Mapping[str, str],
        *,
        now: float,
        until: float,
        limit: int,
        keep: float,
        rest: Rest | None = None,
    ) -> Emitted:
        """Record an event, and lease at most *limit* of the runs that waited for it.

        *digests* has the digest of the event's values for each shape that the sender knows,
        empty where the event lacks a value. The event counts for runs that begin to wait
        within *keep* seconds. Where there were more runs, the same event goes on with those.
        Then *rest* is in the outbox, leased until then too.
        A named one does nothing where another of its id was through with all in the last day.
        """
        ...

    def past(self, name: str, digest: str, since: float, before: float) -> list[SentEvent]:
        """Answer the events that are kept under a digest, sent from *since* to *before*."""
        ...

    def arrive(self, id: RunId, step: str, now: float, until: float) -> Taken | None:
        """Lease the record of a run that is parked at *step*, for it waits no longer.

        None where the run is not parked there, or is leased to somebody already; who has it and
        postpones it postpones it to *now*.
        """
        ...
