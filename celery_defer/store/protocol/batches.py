"""What a store promises about batches: calls that wait for others, until one run takes them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from celery_defer.ids import RunId
from celery_defer.store.history import Fact
from celery_defer.store.values import BatchKind, Leased, Member


class Batches(Protocol):
    """Records of the outbox that grow until they are due, or full."""

    def gather(
        self,
        kinds: Sequence[BatchKind],
        members: Sequence[Member],
        *,
        now: float,
        until: float,
        keep: float,
        claims: float,
    ) -> list[Leased]:
        """Add calls to the batches of their kinds; each once, however often it is added.

        A batch that is open takes them: one that is not due at *now*, and that nobody has leased.
        Else the next is opened; its id is computed from that of its first call. Those that are
        full are leased until *until*, and returned. A record is kept for *keep* seconds after its
        timeout.

        Each call's run has an owner for *claims* seconds: the batch, after ``kind.owner`` and a
        dot. One that has an owner already is left out.
        """
        ...

    def withdraw(
        self, id: RunId, owner: str, line: bytes, keep: float, *, facts: Sequence[Fact] = ()
    ) -> bool:
        """Take a call out of its batch: *owner* has its run, and the record gets *line*.

        Returns False if it is in none, or if its batch was leased already.
        """
        ...
