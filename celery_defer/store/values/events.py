"""The values of events, and of the waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from celery_defer.ids import RunId
from celery_defer.store.values.outbox import Leased

#: The shape of a wait that compares no values: any event of the name will do.
NO_SHAPE = "[]"
#: Seconds by which a sender's clock may be ahead of the store's: what a body sends after it has
#: deferred a run is then not older than that run.
AHEAD = 5.0
#: Seconds after its first wait in which a shape still counts as new.
DRIFT = 60.0


@dataclass(frozen=True, slots=True)
class Subscription:
    """Which events a run waits for: a name, the paths that are compared, and their values.

    ``digest`` stands for all three. The run takes events that were sent at or after ``since``, by
    the store's clock, and at or after ``oldest``, by the caller's.
    """

    name: str
    shape: str
    digest: str
    since: float
    oldest: float = 0.0


@dataclass(frozen=True, slots=True)
class SentEvent:
    """An event that is sent: its memo becomes that of the waiting step.

    ``at`` is when the store got it; before that, by the sender's clock. ``is_named`` says that its
    sender chose the id, and may send it again; this is not stored.
    """

    id: str
    name: str
    at: float
    memo: bytes
    is_named: bool = False


@dataclass(frozen=True, slots=True)
class Rest:
    """The outbox record of a fan-out with more batches: a relay sends the others."""

    id: RunId
    token: str
    body: bytes
    keep: float


@dataclass(frozen=True, slots=True)
class Emitted:
    """The runs that an event woke, leased to the sender to be published.

    ``is_repeat`` says that it was sent before. ``unknown_shapes`` has all shapes of the event's
    name, in order, if those of the sender differ; then no run was woken.
    """

    woken: int = 0
    leased: Sequence[Leased] = ()
    has_more: bool = False
    is_repeat: bool = False
    unknown_shapes: Sequence[str] | None = None
    #: How many runs it has cancelled.
    cancelled: int = 0
