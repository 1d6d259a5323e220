"""What the memory store counts at one gate, and what it knows of the limits of a function."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from celery_defer.flow import Drop, Gate
from celery_defer.ids import RunId


@dataclass(frozen=True, slots=True)
class GateId:
    """A gate: one limit of a function, for one value of its key."""

    task: str
    name: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class Lane:
    """Runs of a function whose keys are the same at all gates at which runs wait in line."""

    task: str
    gates: tuple[GateId, ...]


@dataclass(slots=True)
class MemoryGate:
    """The counts of a gate, and the lanes that it blocks, in turn."""

    #: By run and delivery: until when it has the place. Without a delivery it is reserved.
    places: dict[tuple[RunId, str], float] = field(default_factory=dict)
    #: Of a throttle: when the next would start if all came evenly; and the next to be let through.
    tat: float = 0.0
    paced: float = 0.0
    #: Of a rate limit.
    starts: dict[RunId, float] = field(default_factory=dict)
    #: Of a singleton, or an idempotency.
    mark: RunId | None = None
    until: float = 0.0
    #: Of a singleton: when the marked run was deferred.
    at: float = 0.0
    #: Of a singleton: whom the marked run is to cancel, as far as is known.
    before: RunId | None = None
    #: Of a debounce: who waits, who was let go last, each with when it was deferred; and since when
    #: somebody waits.
    waiting: tuple[float, RunId] | None = None
    gone: tuple[float, RunId] | None = None
    first: float = 0.0
    lanes: deque[Lane] = field(default_factory=deque)
    due: float | None = None

    def used(self, now: float, *, but: RunId | None = None, token: str = "") -> int:
        """Return how many places are in use; without those of one delivery, and reserved ones."""
        return sum(
            until > now and place not in {(but, token), (but, "")}
            for place, until in self.places.items()
        )

    def take(self, run: RunId, token: str, until: float, limit: int, now: float) -> None:
        """Give a place; those that have run out are given away if there are not enough."""
        self.places.pop((run, ""), None)
        self.places[run, token] = until
        lapsed = sorted((end, *place) for place, end in self.places.items() if end <= now)
        for _, other, delivery in lapsed[: max(len(self.places) - limit, 0)]:
            del self.places[other, delivery]

    def leave(self, run: RunId, token: str | None) -> None:
        """Free the place of a delivery, and one that is reserved; with None, all of a run."""
        for place in list(self.places):
            if place[0] == run and (token is None or place[1] in {token, ""}):
                del self.places[place]


@dataclass(slots=True)
class MemoryLimits:
    """The limits of a function, as a worker has asked last, and as they are overridden."""

    gates: dict[str, Gate] = field(default_factory=dict)
    overrides: dict[str, dict[str, float]] = field(default_factory=dict)
    is_paused: bool = False
    lease: float = 30.0
    #: Since when the gates of a limit, by its name, are to be drained.
    reopened: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class MemoryLane:
    """Who stands in a lane, by what orders them; and the gate that blocks them."""

    at: GateId
    runs: dict[RunId, float] = field(default_factory=dict)

    def in_order(self) -> list[RunId]:
        return sorted(self.runs, key=lambda run: (self.runs[run], run))


@dataclass(slots=True)
class MemoryPass:
    """What the gates know of one run."""

    gates: tuple[Gate, ...] = ()
    lane: Lane | None = None
    #: Since when it is held back, and its place by that.
    since: float | None = None
    score: float = 0.0
    #: Until when it is let through.
    let: float = 0.0
    #: Whether a debounce has let it go.
    has_passed: bool = False
    debounce: GateId | None = None
    drop: Drop | None = None
