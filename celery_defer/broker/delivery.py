"""What became of a batch of messages."""

from __future__ import annotations

from dataclasses import dataclass

from celery_defer.ids import RunId

_Ids = frozenset[RunId]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a batch, by the ids of its runs."""

    sent: _Ids = frozenset()
    #: No broker will take them.
    refused: _Ids = frozenset()
    #: This worker does not know their task; another may, as while a new version is rolled out.
    unknown: _Ids = frozenset()
    #: The broker was away.
    unsent: _Ids = frozenset()

    @property
    def is_complete(self) -> bool:
        """Whether all messages are at the broker."""
        return not (self.refused or self.unknown or self.unsent)
