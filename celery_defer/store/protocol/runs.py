"""What a store promises about the runs that have steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from celery_defer.commands import Commands
from celery_defer.flow import Ask
from celery_defer.ids import RunId
from celery_defer.store.alarm import Alarm
from celery_defer.store.history import Fact
from celery_defer.store.values import (
    Arrival,
    Claim,
    Parking,
    Recalled,
    Restart,
    Resumed,
    Subscription,
)


class Runs(Protocol):
    """Owners, memos and turns of runs."""

    def claim(
        self,
        id: RunId,
        owner: str,
        keep: float,
        *,
        settles: bool = False,
        facts: Sequence[Fact] = (),
        is_retry: bool = False,
        ask: Ask | None = None,
    ) -> Claim:
        """Make *owner* the owner of the run if it has none; return the owner it has then.

        Called again by the same owner, as after a lost reply, it returns the same. An owner of
        another task does not count: whoever may send messages can give one any id. A run that has
        parked cannot be claimed. With *settles*, the record of the claimed run is removed. *facts*
        are of the owner; with *is_retry* also of another delivery of its message.

        With *ask*, the claim has what becomes of the run, if its owner is a delivery of the same
        message. Unless that is a Go, no facts are written.
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
        is_retry: bool = False,
        ask: Ask | None = None,
    ) -> Resumed:
        """Claim one turn of the run; if *owner* gets it, recall its steps.

        Then *report* is executed, too, if the store reaches it. Others get the turn that the run is
        in, and no steps. The owner returned is empty if that is another turn: the run has gone on,
        or is forgotten. When the turn has an owner, the record of the parked run is removed.
        *facts* are as for ``claim``. With *ask*, nothing is changed unless what becomes of the
        run is a Go: the turn has no owner, and the record stays.
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
        self, id: RunId, keep: float, until: float, *, only_parked: bool = False, why: str = ""
    ) -> bytes | None:
        """Let no further step of the run begin; return its record's body if it was parked.

        That is its ``ending`` if the record is lost. No wake-up gets the run's turn. The record
        stays leased until *until*: the caller ends the run, and settles. With *only_parked*, a run
        that is not parked stays as it is. ``recall`` says *why*.
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
        """Return when a record is due next, a deadline is over, or a gate is to be drained."""
        ...

    def alarm(self) -> Alarm:
        """Return an alarm that goes off when a run parks from now on."""
        ...
