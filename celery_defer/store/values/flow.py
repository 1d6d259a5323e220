"""The values of flow control: a run that is held back, and how the gates of a function stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from celery_defer.commands import Server
from celery_defer.flow import Admission, Gate
from celery_defer.ids import RunId
from celery_defer.store.values.outbox import Leased

#: The step at which the record of a run that is held back stands. No step can have this id.
HELD_STEP = "\0held"


@dataclass(frozen=True, slots=True)
class Holding:
    """A run that leaves its worker until it may start: in which turn, and how it is woken.

    ``body`` is its record, as of a parked run. Where no gate says when it may start, it is
    published at ``due`` all the same, and asks again.
    """

    turn: int
    token: str
    body: bytes
    due: float
    ending: bytes = b""


@dataclass(frozen=True, slots=True)
class Held:
    """What has become of a run that was to be held back.

    ``admission`` is a Later or a Drop; None if another delivery has the run. ``replaced`` is the
    run that it replaces, which never starts: it is cancelled as by ``cancel``, ``left`` is the body
    of its record, and a relay ends it if the caller does not. ``leased`` has the records of runs to
    publish, perhaps its own.
    """

    admission: Admission | None
    replaced: RunId | None = None
    leased: Sequence[Leased] = ()
    has_reported: bool = False
    left: bytes = b""


@dataclass(frozen=True, slots=True)
class Hold:
    """The places that one delivery of a run has."""

    task: str
    run: RunId
    token: str
    gates: tuple[Gate, ...]


@dataclass(frozen=True, slots=True)
class Giving:
    """How a transaction on a Redis server gives back places; ``read`` reads what it returns."""

    server: Server
    database: int
    args: Sequence[Any]
    read: Callable[[Any], list[Leased]]


@dataclass(frozen=True, slots=True)
class LimitState:
    """One limit of a function, over all its keys.

    The numbers are in force: those of ``override``, if there are any, else the last that a worker
    has asked with; 0 if no run has asked. ``running`` counts places in use, reserved ones too;
    ``lines`` the keys for which runs wait.
    """

    name: str
    limit: int
    period: float
    burst: int
    override: Mapping[str, float] | None = None
    running: int = 0
    lines: int = 0


@dataclass(frozen=True, slots=True)
class FlowState:
    """The limits of a function as they stand, and how many of its runs are held back."""

    task: str
    is_paused: bool = False
    held: int = 0
    limits: Sequence[LimitState] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class InLine:
    """Where a run that is held back stands: at which gate, and its place, from 1; 0 if unknown."""

    gate: str
    key: str = ""
    place: int = 0
    since: float = 0.0
