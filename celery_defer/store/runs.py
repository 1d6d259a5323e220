"""A run that has steps, as a store has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from celery_defer.store.events import SentEvent, Subscription
from celery_defer.store.protocol import Claim

__all__ = ["Arrival", "Parking", "Recalled", "Resumed", "Told", "Verdict"]


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
