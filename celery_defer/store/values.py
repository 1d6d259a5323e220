"""The values that a store takes and returns: records, runs, waits and events."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from celery_defer.ids import RunId

#: The shape of a wait that compares no values: any event of the name will do.
NO_SHAPE = "[]"
#: Seconds by which a sender's clock may be ahead of the store's: what a body sends after it has
#: deferred a run is then not older than that run.
AHEAD = 5.0
#: Seconds after its first wait in which a shape still counts as new.
DRIFT = 60.0
#: How large the bodies may be that are leased at a time; one record may be larger.
MOST_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Leased:
    """A record that is due, leased to the caller; *tries* counts from 1.

    It is 0 for a record that has vanished, as one that has expired. What is not a record has no
    token. ``is_cancelled`` says that its run was cancelled, and that nobody has reported its end.
    """

    id: RunId
    token: str
    body: bytes
    tries: int
    is_cancelled: bool = False
    #: For how many seconds more the store keeps it, if ``take`` has leased it.
    left: float = field(default=math.inf, compare=False)
    #: For how many seconds it has been due, if ``take`` has leased it.
    late: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A record that cannot be read or published, and why."""

    id: RunId
    reason: str
    body: bytes


@dataclass(frozen=True, slots=True)
class OutboxRecord:
    """A record of the outbox as it stands: when it is due, and how often it was leased.

    The body of a very long one is left out.
    """

    id: RunId
    due: float
    tries: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Depth:
    """How much is in the outbox: *records*, of which some are *due*, and how many in quarantine.

    ``late`` is for how many seconds the first of them has been due; 0 if none is.
    """

    records: int
    due: int
    late: float
    quarantined: int


@dataclass(frozen=True, slots=True)
class Details:
    """What a person may want to know of a store; ``ahead`` is the caller's clock against its own.

    ``last_due`` is in how many seconds the last record is due; ``bytes_per_run`` is the memory of a
    parked run, None if there is none or it cannot be read.
    """

    version: str
    persistence: str
    policy: str
    ahead: float = 0.0
    last_due: float = 0.0
    bytes_per_run: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The owner of a run, and whether that is the caller."""

    owner: str
    is_mine: bool


# -- events ---------------------------------------------------------------------------


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


# -- runs -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recalled:
    """A run's steps, as the store has them.

    ``turn`` counts how often the run has parked, ``since`` is when its steps were first recalled,
    and ``waits`` has the note of each step that parked the run. ``is_parked`` says that nobody has
    begun that turn; ``ending`` is what the run has stored as it parked, and ``spans`` what each
    step has.
    """

    turn: int
    since: float
    memos: Mapping[str, bytes] = field(default_factory=dict)
    waits: Mapping[str, bytes] = field(default_factory=dict)
    is_cancelled: bool = False
    is_parked: bool = False
    ending: bytes = b""
    spans: Mapping[str, bytes] = field(default_factory=dict)


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
