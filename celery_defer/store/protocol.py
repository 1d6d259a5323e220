"""What a store promises; ``celery_defer.testing.StoreContract`` holds every store to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from celery_defer.commands import Commands
from celery_defer.ids import RunId
from celery_defer.store.values import (
    Arrival,
    Claim,
    Emitted,
    Leased,
    Parking,
    Quarantined,
    Recalled,
    Rest,
    Resumed,
    SentEvent,
    Subscription,
)


class Alarm(Protocol):
    """Wakes a relay before its next look, when something becomes due earlier."""

    def wait(self, seconds: float) -> float | None:
        """Wait so long, or until a run was parked; return when that is due."""
        ...

    def close(self) -> None: ...


class Store(Protocol):
    """All that the package keeps outside a process.

    Each method is atomic and one round trip; times are seconds, by the caller's clock.
    """

    # -- outbox ---------------------------------------------------------------------

    def stage(
        self, id: RunId, token: str, body: bytes, due: float, keep: float, *, replaces: bool = True
    ) -> bool:
        """Keep the record of a run, due first at *due*, for *keep* seconds at most.

        *token* names this very record. An earlier record of the run is replaced; without
        *replaces* it stays, and what this returns is False.
        """
        ...

    def settle(self, id: RunId, token: str | None) -> None:
        """Remove the record, unless another was staged since; with no token, whichever it is."""
        ...

    def settle_all(self, records: Sequence[tuple[RunId, str]]) -> None:
        """Do what ``settle`` does, for many records at once."""
        ...

    def take(self, now: float, until: float, limit: int) -> list[Leased]:
        """Lease the *limit* records that are due longest; nobody else gets them before *until*."""
        ...

    def postpone(self, id: RunId, token: str, due: float, body: bytes | None = None) -> None:
        """Let the record be taken again at *due*, unless it is gone or another was staged.

        With a *body*, that is the record from now on.
        """
        ...

    def quarantine(self, id: RunId, token: str, reason: str, keep: float) -> None:
        """Put the record aside, where ``quarantined`` shows it for *keep* seconds."""
        ...

    def quarantined(self) -> list[Quarantined]:
        """Return the records that were put aside."""
        ...

    def waiting(self, until: float = math.inf) -> int:
        """Return how many records are in the outbox that are due *until* then."""
        ...

    def risks(self) -> list[str]:
        """Return what may make the store lose a record, each with its remedy."""
        ...

    # -- runs -----------------------------------------------------------------------

    def claim(self, id: RunId, owner: str, keep: float) -> Claim:
        """Give the run to *owner* if nobody has it; return who has it then.

        Asked again by the same owner, as after a lost answer, it answers the same. A run that
        has parked has no owner by this, and takes none.
        """
        ...

    def recall(self, id: RunId, now: float | None, keep: float) -> Recalled:
        """Return what is known of the run, which is seen first *now* if nothing is."""
        ...

    def resume(
        self, id: RunId, turn: int, owner: str, keep: float, report: Commands | None = None
    ) -> Resumed:
        """Do what ``claim`` and ``recall`` do, for one turn of the run.

        For who gets the turn *report* is executed, if the store reaches it.

        The owner is empty if the run is not in that turn: it has gone on, or is forgotten.
        """
        ...

    def remember(self, id: RunId, memos: Mapping[str, bytes], keep: float) -> bytes:
        """Keep the memos of steps that have none; return which the last of them has then.

        There is at least one.
        """
        ...

    def reaches(self, report: Commands) -> bool:
        """Whether ``resume`` and ``park`` can execute *report* with what they do, as one."""
        ...

    def park(
        self, id: RunId, parking: Parking, now: float, keep: float, report: Commands | None = None
    ) -> Arrival:
        """End the run's turn and put its record into the outbox.

        Not if the step has a memo; nor if the event that it waits for was sent already, and
        was not received by the run: that is kept as the step's memo then. Nor if nobody has
        looked for events that were sent before they were kept by such values; from now on they
        are. *keep* is in seconds from now. For a run that parks *report* is executed, if the store
        reaches it.
        """
        ...

    def give_up(
        self, id: RunId, step: str, wait: Subscription, nothing: bytes, keep: float
    ) -> bytes:
        """End a wait whose time is up; return the memo that the step has then.

        That is *nothing*, unless an event was faster: also one whose sender has died before it
        came to this run.
        """
        ...

    def cancel(
        self, id: RunId, keep: float, until: float, *, only_parked: bool = False
    ) -> bytes | None:
        """Let no step of the run begin any more; return its record if it was parked.

        The record stays, as one that is leased until then: who cancels ends the run, and settles.
        With *only_parked*, a run that is not is left alone.
        """
        ...

    def next_due(self) -> float | None:
        """Return when the next record in the outbox is due."""
        ...

    def alarm(self) -> Alarm:
        """Return what goes off when a record is parked from now on."""
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
        """Return the events that are kept under a digest, sent from *since* to *before*."""
        ...

    def arrive(self, id: RunId, step: str, now: float, until: float) -> Leased | None:
        """Lease the record of a run that is parked at *step*, for it waits no longer.

        None where the run is not parked there, or is leased to somebody already; who has it and
        postpones it postpones it to *now*.
        """
        ...
