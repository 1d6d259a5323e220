"""The outcome of a batch of messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from celery_defer.ids import RunId

_Ids = frozenset[RunId]


@dataclass(frozen=True, slots=True)
class Delivery:
    """The outcome of a batch, as the ids of its runs."""

    sent: _Ids = frozenset()
    #: They cannot be published to any broker; and why.
    refused: Mapping[RunId, str] = field(default_factory=dict)
    #: This worker does not have their task; another may, as during a rollout.
    unknown: _Ids = frozenset()
    #: The broker was away.
    unsent: _Ids = frozenset()
    #: Their task's own ``apply_async`` has published nothing; and why, as far as it says so.
    dropped: Mapping[RunId, str] = field(default_factory=dict)
    #: Those of ``sent`` that are no messages: they wait in the store, in a batch.
    gathered: _Ids = frozenset()

    def then(self, others: Delivery) -> Delivery:
        """Return the outcome of both, where *others* are further messages, or sent again."""
        sent, refused = self.sent | others.sent, {**self.refused, **others.refused}
        dropped = {**self.dropped, **others.dropped}
        unsent = (self.unsent | others.unsent) - sent - refused.keys() - dropped.keys()
        gathered = self.gathered | others.gathered
        return Delivery(sent, refused, unsent=unsent, dropped=dropped, gathered=gathered)

    @property
    def is_complete(self) -> bool:
        """Whether all messages are at the broker."""
        return not (self.refused or self.unknown or self.unsent or self.dropped)
