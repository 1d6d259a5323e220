"""An event, and who waits for it, as a store has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from celery_defer.ids import RunId
from celery_defer.store.protocol import Taken

__all__ = ["DRIFT", "NO_SHAPE", "Emitted", "Rest", "SentEvent", "Subscription"]

#: The shape of a wait that compares no values: any event of the name will do.
NO_SHAPE = "[]"
#: Seconds by which the clocks of a system may differ.
DRIFT = 60.0


@dataclass(frozen=True, slots=True)
class Subscription:
    """Which events a run waits for: a name, the paths that are compared, and their values.

    ``digest`` stands for all three. The run takes events that were sent at or after *since*.
    """

    name: str
    shape: str
    digest: str
    since: float


@dataclass(frozen=True, slots=True)
class SentEvent:
    """An event on its way: its memo is what the waiting step will have answered.

    ``is_named`` says that its sender chose the id, and may send it again; nobody keeps that.
    """

    id: str
    name: str
    at: float
    memo: bytes
    is_named: bool = False


@dataclass(frozen=True, slots=True)
class Rest:
    """The record for the outbox of an event that goes on: a relay takes it if its sender dies."""

    id: RunId
    token: str
    body: bytes
    keep: float


@dataclass(frozen=True, slots=True)
class Emitted:
    """What an event has done: the runs to publish, leased to the sender.

    ``unknown_shapes`` has all shapes of the event's name, in order, if the sender knew others; then
    nothing was done.
    """

    woken: int = 0
    taken: Sequence[Taken] = ()
    has_more: bool = False
    unknown_shapes: Sequence[str] | None = None
