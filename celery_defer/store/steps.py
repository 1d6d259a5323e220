"""What a store keeps of runs that have steps, and of the events that they wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from celery_defer.ids import RunId
from celery_defer.store.protocol import Claim, Taken

__all__ = [
    "DRIFT",
    "NO_SHAPE",
    "Arrival",
    "Emitted",
    "Nudges",
    "Parking",
    "Recalled",
    "Resumed",
    "SentEvent",
    "StepStore",
    "Subscription",
    "Told",
    "Verdict",
]

#: The shape of a wait that compares no values: any event of the name will do.
NO_SHAPE = "[]"
#: Seconds by which the clocks of a system may differ.
DRIFT = 60.0


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

    ``has_told`` says that the result backend knows of the turn.
    """

    claim: Claim
    recalled: Recalled
    has_told: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What a Redis that keeps results is to have under a key, and to publish to its readers.

    *connection* says how redis-py connects to it; ``expires`` is in seconds.
    """

    connection: Mapping[str, Any]
    key: bytes | str
    value: bytes | str
    expires: float | None


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
    """The answer to an attempt to park.

    With ``LOOK``, ``known`` says since when events are surely kept by the values that the run
    waits for, by any sender's clock; earlier ones are found by their name alone.
    """

    verdict: Verdict
    memo: bytes | None = None
    known: float = 0.0


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
class Emitted:
    """What an event has done: the runs to publish, leased to the sender.

    ``unknown_shapes`` has all shapes of the event's name, in order, if the sender knew others; then
    nothing was done.
    """

    woken: int = 0
    taken: Sequence[Taken] = ()
    has_more: bool = False
    unknown_shapes: Sequence[str] | None = None


class Nudges(Protocol):
    """Wakes a relay before its next look, when something becomes due earlier."""

    def wait(self, seconds: float) -> float | None:
        """Wait so long, or until a run was parked; answer when that is due."""
        ...

    def close(self) -> None: ...


class StepStore(Protocol):
    """Each method is atomic and one round trip; times are seconds, by the caller's clock."""

    # -- runs -----------------------------------------------------------------------

    def recall(self, id: RunId, now: float | None, keep: float) -> Recalled:
        """Answer what is known of the run, which is seen first *now* if nothing is."""
        ...

    def resume(
        self, id: RunId, turn: int, owner: str, keep: float, told: Told | None = None
    ) -> Resumed:
        """Do what ``claim`` and ``recall`` do, for one turn of the run.

        Who gets the turn has *told* written, if that Redis is the store's.

        The owner is empty if the run is not in that turn: it has gone on, or is forgotten.
        """
        ...

    def remember(self, id: RunId, memos: Mapping[str, bytes], keep: float) -> bytes:
        """Keep the memos of steps that have none; answer which the last of them has then.

        There is at least one.
        """
        ...

    def park(self, id: RunId, parking: Parking, now: float, keep: float) -> Arrival:
        """End the run's turn and put its record into the outbox.

        Not if the step has a memo; nor if the event that it waits for was sent already, and
        was not received by the run: that is kept as the step's memo then. Nor if nobody has
        looked for events that were sent before they were kept by such values; from now on they
        are. *keep* is in seconds from now.
        """
        ...

    def give_up(
        self, id: RunId, step: str, wait: Subscription, nothing: bytes, keep: float
    ) -> bytes:
        """End a wait whose time is up; answer the memo that the step has then.

        That is *nothing*, unless an event was faster: also one whose sender has died before it
        came to this run.
        """
        ...

    def cancel(
        self, id: RunId, keep: float, until: float, *, only_parked: bool = False
    ) -> bytes | None:
        """Let no step of the run begin any more; answer its record if it was parked.

        The record stays, as one that is leased until then: who cancels ends the run, and settles.
        With *only_parked*, a run that is not is left alone.
        """
        ...

    def next_due(self) -> float | None:
        """Answer when the next record in the outbox is due."""
        ...

    def nudges(self) -> Nudges:
        """Answer what tells of records that are parked from now on."""
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
    ) -> Emitted:
        """Record an event, and lease at most *limit* of the runs that waited for it.

        *digests* has the digest of the event's values for each shape that the sender knows,
        empty where the event lacks a value. The event counts for runs that begin to wait
        within *keep* seconds. Where there were more runs, the same event goes on with those.
        A named one does nothing where another of its id was through with all in the last day.
        """
        ...

    def past(self, name: str, digest: str, since: float, before: float) -> list[SentEvent]:
        """Answer the events that are kept under a digest, sent from *since* to *before*."""
        ...

    def arrive(self, id: RunId, step: str, now: float, until: float) -> Taken | None:
        """Lease the record of a run that is parked at *step*, for it waits no longer.

        None where the run is not parked there, or is leased to somebody already; who has it and
        postpones it postpones it to *now*.
        """
        ...
