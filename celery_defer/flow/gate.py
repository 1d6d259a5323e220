"""A gate: one limit of a function, for one value of its key."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(str, Enum):
    """What a gate does with a run that it does not let through."""

    #: At most so many bodies in progress; the others wait in line.
    CONCURRENCY = "concurrency"
    #: Starts have a distance; the others wait in line.
    THROTTLE = "throttle"
    #: At most so many starts in a period; the others are dropped.
    RATE_LIMIT = "rate_limit"
    #: Each run waits for a period, and is replaced by a later one.
    DEBOUNCE = "debounce"
    #: One run at a time, from its arrival to its end; the others are dropped, or cancel it.
    SINGLETON = "singleton"
    #: One run in a period; the others are dropped.
    IDEMPOTENCY = "idempotency"


@dataclass(frozen=True, slots=True)
class Gate:
    """One limit of a function, for one value of its key.

    ``name`` is that of the limit within the function: ``"concurrency"``, ``"concurrency.2"``,
    ``"throttle"`` and so on. ``key`` is "" for a limit without one. Times are in seconds.
    """

    kind: Kind
    name: str
    key: str = ""
    limit: int = 1
    period: float = 0.0
    #: Of a throttle: how many may start at once after a pause.
    burst: int = 1
    #: Of a throttle: how many seconds its period is taken to be longer.
    reserve: float = 0.0
    #: Of a debounce: for how long a run waits at most, counted from the first that it replaces.
    timeout: float | None = None
    #: Of a singleton: whether a later run cancels the earlier one, instead of being dropped.
    cancels: bool = False
