"""The values of the outbox: records, leased and quarantined, and the owners of runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from celery_defer.flow import Admission
from celery_defer.ids import RunId

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
    """The owner of a run, and whether that is the caller.

    ``admission`` is what becomes of the run, if the caller has asked and is its owner.
    """

    owner: str
    is_mine: bool
    admission: Admission | None = None
