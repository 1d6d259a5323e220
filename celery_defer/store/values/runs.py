"""The values of runs with steps: what they have done, and how they park."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from celery_defer.store.values.events import SentEvent, Subscription
from celery_defer.store.values.outbox import Claim


@dataclass(frozen=True, slots=True)
class Recalled:
    """A run's steps, as the store has them.

    ``turn`` counts how often the run has parked, ``since`` is when its steps were first recalled,
    and ``waits`` has the note of each step that parked the run. ``is_parked`` says that nobody has
    begun that turn; ``ending`` is what the run has stored as it parked, and ``spans`` what each
    step has. ``why`` says why it was cancelled, and ``watched`` has the digests of the events that
    cancel it.
    """

    turn: int
    since: float
    memos: Mapping[str, bytes] = field(default_factory=dict)
    waits: Mapping[str, bytes] = field(default_factory=dict)
    is_cancelled: bool = False
    is_parked: bool = False
    ending: bytes = b""
    spans: Mapping[str, bytes] = field(default_factory=dict)
    why: str = ""
    watched: Sequence[str] = ()
    is_watched: bool = False
    has_begun: bool = False


@dataclass(frozen=True, slots=True)
class Resumed:
    """The owner of a turn, and the run's steps.

    ``has_reported`` says that the *report* was executed.
    """

    claim: Claim
    recalled: Recalled
    has_reported: bool = False


@dataclass(frozen=True, slots=True)
class Parking:
    """A run that leaves its worker: in which turn, at which step, and how it is woken.

    ``body`` is its record, to be published at ``due`` or for an event. ``early`` has, by time, the
    matching events that were sent before the shape was known; None if the caller has not looked.
    ``ending`` is what is to be known of the run if its record is lost, and ``span`` since when and
    until when the step waits; a store keeps it as it is.
    """

    turn: int
    step: str
    note: bytes
    token: str
    body: bytes
    due: float
    subscription: Subscription | None = None
    early: Sequence[SentEvent] | None = None
    ending: bytes = b""
    span: bytes = b""


@dataclass(frozen=True, slots=True)
class Restart:
    """How a run that has ended goes on: after which turn, and from which step.

    ``body`` is its record, as of a run that is parked at ``step``. ``forgets`` has the keys of the
    steps that are run again, and ``events`` the events that they had received. ``ending`` is what
    is to be known of the run if its record is lost.
    """

    turn: int
    step: str
    token: str
    body: bytes
    forgets: Sequence[str] = ()
    events: Sequence[str] = ()
    ending: bytes = b""


class Verdict(Enum):
    """The outcome of an attempt to park."""

    PARKED = "parked"
    #: The event was already sent; or the step has a memo, from another delivery.
    ARRIVED = "arrived"
    #: Events sent before may be kept by their name only: look for them, and park again.
    LOOK = "look"
    #: Another delivery has the run; this one is old.
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Arrival:
    """What an attempt to park returns.

    With ``LOOK``, ``known_since`` is since when all senders keep events by the shape of the wait;
    earlier ones are kept by their name only. The run takes those sent at or after ``since``.
    """

    verdict: Verdict
    memo: bytes | None = None
    known_since: float = 0.0
    since: float = 0.0
