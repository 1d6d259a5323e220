"""What a store is given and returns: records, runs, waits and events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from celery_defer.ids import RunId

#: The shape of a wait that compares no values: any event of the name will do.
NO_SHAPE = "[]"
#: Seconds by which the clocks of a system may differ.
DRIFT = 60.0


@dataclass(frozen=True, slots=True)
class Leased:
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


# -- events ---------------------------------------------------------------------------


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
    leased: Sequence[Leased] = ()
    has_more: bool = False
    unknown_shapes: Sequence[str] | None = None


# -- runs -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recalled:
    """What is known of a run's steps.

    ``turn`` counts how often the run has parked, ``since`` is when it was first seen, and
    ``waits`` has, for each step that has parked the run, the note that was left then.
    """

    turn: int
    since: float
    memos: Mapping[str, bytes] = field(default_factory=dict)
    waits: Mapping[str, bytes] = field(default_factory=dict)
    is_cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Resumed:
    """Who has a turn of a run, and what is known of the run's steps.

    ``has_reported`` says that the commands that were to go along were executed.
    """

    claim: Claim
    recalled: Recalled
    has_reported: bool = False


@dataclass(frozen=True, slots=True)
class Parking:
    """A run that leaves its worker: in which turn, at which step, and how it comes back.

    ``body`` is a record for the outbox, which publishes it at ``due``, or for an event. ``early``
    has the events found that were sent before anybody had waited for such values, in the order of
    their times; None if nobody has looked.
    """

    turn: int
    step: str
    note: bytes
    token: str
    body: bytes
    due: float
    subscription: Subscription | None = None
    early: Sequence[SentEvent] | None = None


class Verdict(Enum):
    """What became of an attempt to park."""

    PARKED = "parked"
    #: The event had been sent already; or the step has a memo, which another delivery wrote.
    ARRIVED = "arrived"
    #: An event may have been sent that is kept by its name alone: look for it, and ask again.
    LOOK = "look"
    #: The run goes on elsewhere: this delivery of it is an old one.
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Arrival:
    """What an attempt to park comes to.

    With ``LOOK``, ``known`` says since when events are surely kept by the values that the run
    waits for, by any sender's clock; earlier ones are found by their name alone.
    """

    verdict: Verdict
    memo: bytes | None = None
    known: float = 0.0
