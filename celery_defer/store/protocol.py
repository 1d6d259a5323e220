"""What a store promises; ``celery_defer.testing.StoreContract`` holds every store to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from celery_defer.ids import RunId

__all__ = ["Claim", "OutboxStore", "Quarantined", "Taken"]


@dataclass(frozen=True, slots=True)
class Taken:
    """A record that is due, leased to the one who took it; *tries* counts from 1.

    It is 0 for a record that has vanished, as when its time in the store was over.
    """

    id: RunId
    token: str
    body: bytes
    tries: int


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A record that nobody could read or publish, and why."""

    id: RunId
    reason: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """Who has a run, and whether that is who asked."""

    owner: str
    is_mine: bool


class OutboxStore(Protocol):
    """Each method is atomic and one round trip; times are seconds, by the caller's clock."""

    # -- outbox ---------------------------------------------------------------------

    def stage(
        self, id: RunId, token: str, body: bytes, due: float, keep: float
    ) -> Callable[[], None]:
        """Keep the record of a run, instead of an earlier one; due first at *due*.

        It is kept for *keep* seconds at most. *token* names this very record. The record is
        sent at once; it is there when the answer, called, has returned.
        """
        ...

    def stage_in(
        self,
        connection: Mapping[str, Any],
        id: RunId,
        token: str,
        body: bytes,
        *,
        due: float,
        keep: float,
    ) -> Callable[[Any], None] | None:
        """Answer what adds ``stage`` to a Redis pipeline of somebody else.

        *connection* says how redis-py connects to that Redis; None where the record would not
        be in it. A record that is refused there does not fail the rest of the pipeline.
        """
        ...

    def settle(self, id: RunId, token: str | None) -> None:
        """Remove the record, unless another was staged since; with no token, whichever it is."""
        ...

    def settle_all(self, records: Sequence[tuple[RunId, str]]) -> None:
        """Do what ``settle`` does, for many records at once."""
        ...

    def settle_in(
        self, broker: Mapping[str, Any], id: RunId, token: str
    ) -> Callable[[Sequence[Any]], Callable[[], None]] | None:
        """Answer what sends commands to a Redis and settles the record, all or nothing.

        That answers the wait for the reply, which raises where there was none.

        *broker* says how redis-py connects to that Redis; None where the record is not there.
        The commands come as names, keys and values in turn.
        """
        ...

    def take(self, now: float, until: float, limit: int) -> list[Taken]:
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
        """Answer the records that were put aside."""
        ...

    def waiting(self, until: float = math.inf) -> int:
        """Answer how many records are in the outbox that are due *until* then."""
        ...

    def risks(self) -> list[str]:
        """Answer what may make the store lose a record, each with its remedy."""
        ...

    # -- runs -----------------------------------------------------------------------

    def claim(self, id: RunId, owner: str, keep: float) -> Claim:
        """Give the run to *owner* if nobody has it; answer who has it then.

        Asked again by the same owner, as after a lost answer, it answers the same. A run that
        has parked has no owner by this, and takes none.
        """
        ...
