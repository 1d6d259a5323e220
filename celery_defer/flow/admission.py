"""What becomes of a run that asks to start."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from celery_defer.ids import RunId


class Reason(str, Enum):
    """Why a run is dropped."""

    RATE_LIMIT = "rate_limit"
    SINGLETON = "singleton"
    IDEMPOTENCY = "idempotency"
    #: A later call takes its place: debounce.
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Go:
    """The run starts ``wait`` seconds from now, at most one, because of a throttle."""

    wait: float = 0.0
    #: The run that a singleton is to cancel.
    cancels: RunId | None = None


@dataclass(frozen=True, slots=True)
class Later:
    """The run waits for a gate; ``due`` is in how many seconds it starts, if that is known."""

    gate: str
    key: str = ""
    due: float | None = None
    #: The run that a singleton is to cancel.
    cancels: RunId | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """The run never starts; ``by`` is the run because of which, if it is one."""

    reason: Reason
    gate: str
    key: str = ""
    by: RunId | None = None


Admission = Go | Later | Drop
