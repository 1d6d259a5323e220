"""What a store promises about the records of the outbox."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from celery_defer.ids import RunId
from celery_defer.store.history import Fact
from celery_defer.store.values import (
    Depth,
    Details,
    Leased,
    OutboxRecord,
    Quarantined,
)


class Outbox(Protocol):
    """Records that have still to leave, by the run that they are of."""

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

    def peek(self, limit: int) -> list[OutboxRecord]:
        """Return the *limit* records that are due first, and leave them as they are."""
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

    def details(self) -> Details:
        """Return what a person may want to know of the store."""
        ...
