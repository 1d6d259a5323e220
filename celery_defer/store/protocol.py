"""What a store promises; ``celery_defer.testing.StoreContract`` tests it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from celery_defer.commands import Commands
from celery_defer.ids import RunId
from celery_defer.store.alarm import Alarm
from celery_defer.store.histories import Histories
from celery_defer.store.history import Fact
from celery_defer.store.values import (
    Arrival,
    Claim,
    Depth,
    Emitted,
    Leased,
    Parking,
    Quarantined,
    Recalled,
    Rest,
    Restart,
    Resumed,
    SentEvent,
    Subscription,
)


class Store(Histories, Protocol):
    """All that the package stores outside a process.

    Each method is atomic and one round trip. Times are in seconds, by the caller's clock; a store
    with a clock of its own takes from them only how far they are from the caller's now, so that a
    clock that is wrong decides nothing. The times at which the store got an event, began a run's
    steps or learned a shape are by its own clock: they come back to it as they are.

    *facts*, which go into the histories of runs, are written only if the method does what it is
    called for; if they cannot be written, it does that all the same.
    """

    # -- outbox ---------------------------------------------------------------------

    def stage(
        self, id: RunId, token: str, body: bytes, due: float, keep: float,
        *, replaces: bool = True, facts: Sequence[Fact] = (),
    ) -> bool:  # fmt: skip
        """Put a record of a run into the outbox, due at *due*, for at most *keep* seconds.

        *token* names this record. An earlier record of the run is replaced; without *replaces*
        it stays, and this returns False.
        """
        ...

    def settle(self, id: RunId, token: str | None, *, facts: Sequence[Fact] = ()) -> None:
        """Remove the run's record if it has this token; with None, remove any."""
        ...

    def expect(self, runs: Sequence[tuple[RunId, str, float]]) -> None:
        """Keep the records of woken runs, with these tokens, until the runs ``resume``.

        Their wake-ups are published. A relay takes a record again at the time given with it.
        """
        ...

    def take(self, now: float, until: float, limit: int) -> list[Leased]:
        """Lease the *limit* records that have been due longest, until *until*.

        Fewer, if their bodies would have more than ``MOST_BYTES``, but at least one. A record that
        has vanished is in line until it is settled.
        """
        ...

    def postpone(
        self,
        id: RunId,
        token: str,
        due: float,
        body: bytes | None = None,
        *,
        facts: Sequence[Fact] = (),
    ) -> None:
        """Make the record due at *due*, unless it is gone or another was staged.

        A *body* replaces the record's.
        """
        ...

    def quarantine(
        self, id: RunId, token: str, reason: str, keep: float, *, facts: Sequence[Fact] = ()
    ) -> None:
        """Move the record to quarantine, where it stays for *keep* seconds."""
        ...

    def quarantined(self) -> list[Quarantined]:
        """Return the records in quarantine."""
        ...

    def release(self, id: RunId, token: str, body: bytes, due: float, keep: float) -> bool:
        """Move a record from quarantine into the outbox, with this token and body.

        Returns False if it is not in quarantine, or if the outbox has another record of the run,
        which stays.
        """
        ...

    def discard(self, id: RunId) -> bool:
        """Remove a record from quarantine; return whether it was there."""
        ...

    def hasten(self, id: RunId, now: float) -> bool:
        """Make the run's record due at *now*; return whether there is one.

        A record that is leased is due then if its holder postpones it.
        """
        ...

    def waiting(self, until: float = math.inf) -> int:
        """Return how many records of the outbox are due by *until*."""
        ...

    def depth(self, now: float) -> Depth:
        """Return how much is in the outbox, without reading a record."""
        ...

    def refusal(self) -> str | None:
        """Return why this cannot be a store at all, if so."""
        ...

    def risks(self) -> list[str]:
        """Return what may make the store lose a record, each with a remedy."""
        ...

    # -- runs -----------------------------------------------------------------------

    def claim(
        self,
        id: RunId,
        owner: str,
        keep: float,
        *,
        settles: bool = False,
        facts: Sequence[Fact] = (),
    ) -> Claim:
        """Make *owner* the owner of the run if it has none; return the owner it has then.

        Called again by the same owner, as after a lost reply, it returns the same. An owner of
        another task does not count: whoever may send messages can give one any id. A run that has
        parked cannot be claimed. With *settles*, the record of the claimed run is removed.
        """
        ...

    def turn(self, id: RunId) -> int:
        """Return how often the run has parked."""
        ...

    def recall(self, id: RunId, now: float | None, keep: float) -> Recalled:
        """Return the run's steps; if none were recalled before, *now* becomes their ``since``."""
        ...

    def resume(
        self,
        id: RunId,
        turn: int,
        owner: str,
        keep: float,
        report: Commands | None = None,
        *,
        facts: Sequence[Fact] = (),
    ) -> Resumed:
        """Claim one turn of the run; if *owner* gets it, recall its steps.

        Then *report* is executed, too, if the store reaches it. Others get the turn that the run is
        in, and no steps. The owner returned is empty if that is another turn: the run has gone on,
        or is forgotten. When the turn has an owner, the record of the parked run is removed.
        """
        ...

    def remember(self, id: RunId, memos: Mapping[str, bytes], keep: float) -> bytes:
        """Store the memos of steps that have none; return the memo of the last step then.

        There is at least one. If the run was cancelled, nothing is stored, and the memo is empty.
        """
        ...

    def expire(self, id: RunId, turn: int, keep: float) -> None:
        """Keep the run's steps for *keep* seconds from now on, whatever was said before.

        A run that is not in that turn has gone on, and is left alone.
        """
        ...

    def expiry(self, id: RunId, keep: float) -> Commands | None:
        """Return what ``expire`` would write of a run that has ended; None if it is no command."""
        ...

    def reaches(self, report: Commands) -> bool:
        """Whether ``resume`` and ``park`` can execute *report* in their transaction."""
        ...

    def park(
        self,
        id: RunId,
        parking: Parking,
        now: float,
        keep: float,
        report: Commands | None = None,
        *,
        facts: Sequence[Fact] = (),
    ) -> Arrival:
        """End the run's turn and put its record into the outbox for *keep* seconds.

        The run does not park if the step has a memo, or if an event that it waits for, and has
        not received, was already sent; this becomes the step's memo. Nor if the shape of the wait
        is new and the caller has not looked for earlier events; from now on events are kept by
        it. If the run parks, *report* is executed, if the store reaches it.
        """
        ...

    def give_up(
        self, id: RunId, step: str, wait: Subscription, nothing: bytes, keep: float
    ) -> bytes:
        """End a wait whose time is up; return the step's memo.

        That is *nothing*, unless an event was faster, even one whose sender died before it woke
        this run.
        """
        ...

    def cancel(
        self, id: RunId, keep: float, until: float, *, only_parked: bool = False
    ) -> bytes | None:
        """Let no further step of the run begin; return its record's body if it was parked.

        That is its ``ending`` if the record is lost. No wake-up gets the run's turn. The record
        stays leased until *until*: the caller ends the run, and settles. With *only_parked*, a run
        that is not parked stays as it is.
        """
        ...

    def restart(self, id: RunId, restart: Restart, due: float, keep: float) -> bool:
        """Begin another turn of a run that has ended, for which its record waits until *due*.

        Returns False, and does nothing, if the run is in another turn than *restart* says, is
        parked, or has a record in the outbox. A message that is to start the run, or another turn
        of it, does nothing from then on.
        """
        ...

    def next_due(self) -> float | None:
        """Return when the next record in the outbox is due."""
        ...

    def alarm(self) -> Alarm:
        """Return an alarm that goes off when a run parks from now on."""
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
