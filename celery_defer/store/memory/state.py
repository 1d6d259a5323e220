"""The state of the memory store, which its parts share."""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import time

from celery_defer.ids import RunId
from celery_defer.store.history import History, Place
from celery_defer.store.memory.gates import (
    GateId,
    Lane,
    MemoryGate,
    MemoryLane,
    MemoryLimits,
    MemoryPass,
)
from celery_defer.store.scores import ScoreRow
from celery_defer.store.values import Leased, Quarantined, Recalled, SentEvent, Subscription


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """A record of the outbox; that of a parked run has a step, and the digest of its wait."""

    token: str
    body: bytes
    due: float
    tries: int = 0
    step: str | None = None
    digest: str = ""
    lease: float = 0.0
    over: float | None = None
    is_cancelled: bool = False
    expires: float = math.inf


@dataclass(slots=True)
class MemoryRun:
    """A run's steps."""

    since: float | None = None
    turn: int = 0
    owner: str | None = None
    is_cancelled: bool = False
    ending: bytes = b""
    memos: dict[str, bytes] = field(default_factory=dict)
    waits: dict[str, bytes] = field(default_factory=dict)
    spans: dict[str, bytes] = field(default_factory=dict)
    received: set[str] = field(default_factory=set)
    #: By the digest of a wait: until when the run has received all events.
    cursors: dict[str, float] = field(default_factory=dict)
    #: By the digest of an event that cancels the run: until when it counts.
    watched: dict[str, float] = field(default_factory=dict)
    deadline: float | None = None
    #: Why the run ends at its deadline; and why it was cancelled.
    late: str = ""
    why: str = ""
    has_begun: bool = False

    def recalled(self) -> Recalled:
        return Recalled(
            self.turn,
            self.since or 0.0,
            dict(self.memos),
            dict(self.waits),
            is_cancelled=self.is_cancelled,
            is_parked=self.is_parked,
            ending=self.ending,
            spans=dict(self.spans),
            why=self.why,
            watched=tuple(self.watched),
            is_watched=self.has_begun or bool(self.watched) or self.deadline is not None,
            has_begun=self.has_begun,
        )

    @property
    def is_parked(self) -> bool:
        return self.turn > 0 and self.owner is None

    @property
    def is_known(self) -> bool:
        """Whether anything was stored of it; it may only have been asked for."""
        return bool(self.turn or self.owner or self.memos or self.is_cancelled) or (
            self.since is not None
        )

    def since_of(self, wait: Subscription) -> float:
        return max(wait.since, wait.oldest, self.cursors.get(wait.digest, 0))

    def receive(self, step: str, event: SentEvent) -> bool:
        """Make an event the step's memo; False if the run has received it, or the step has one."""
        if event.id in self.received or step in self.memos:
            return False
        self.received.add(event.id)
        self.memos[step] = event.memo
        return True


@dataclass(slots=True)
class MemoryScored:
    """The scores of a run."""

    task: str = ""
    place: Place | None = None
    rows: list[ScoreRow] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    #: By name and step: the row that was written last.
    last: dict[tuple[str, str | None], ScoreRow] = field(default_factory=dict)


@dataclass(slots=True)
class MemoryExperiment:
    """The runs of an experiment, and what became of them."""

    #: When each was assigned, and its variant.
    runs: dict[RunId, tuple[float, str]] = field(default_factory=dict)
    #: By name, assigned run, scored run and step.
    values: dict[tuple[str, RunId, RunId, str | None], bool | float] = field(default_factory=dict)
    #: By assigned run and the run that carries it: until when that is open.
    open: dict[tuple[RunId, RunId], float] = field(default_factory=dict)
    unsampled: set[RunId] = field(default_factory=set)
    #: The number of its newest assignment.
    last: int = 0


@dataclass(frozen=True, slots=True)
class MemoryBatch:
    """The batch of a kind that takes further calls."""

    id: RunId
    token: str
    count: int = 0
    size: int = 0


@dataclass(eq=False)
class MemoryState:
    """Records, runs and events, and the lock around them."""

    _outbox: dict[RunId, MemoryRecord] = field(default_factory=dict)
    _quarantine: dict[RunId, Quarantined] = field(default_factory=dict)
    _owners: dict[RunId, str] = field(default_factory=dict)
    _runs: defaultdict[RunId, MemoryRun] = field(default_factory=lambda: defaultdict(MemoryRun))
    _events: dict[str, list[SentEvent]] = field(default_factory=dict)
    _shapes: dict[str, dict[str, float]] = field(default_factory=dict)
    _sent: dict[str, bool] = field(default_factory=dict)
    _histories: dict[RunId, History] = field(default_factory=dict)
    _tasks: dict[RunId, str] = field(default_factory=dict)
    _began: dict[RunId, Place] = field(default_factory=dict)
    _entered: dict[RunId, Place] = field(default_factory=dict)
    _tagged: dict[tuple[str, RunId], Place] = field(default_factory=dict)
    _facts: int = 0
    _scored: defaultdict[RunId, MemoryScored] = field(
        default_factory=lambda: defaultdict(MemoryScored)
    )
    _orphans: dict[RunId, Place] = field(default_factory=dict)
    _experiments: defaultdict[str, MemoryExperiment] = field(
        default_factory=lambda: defaultdict(MemoryExperiment)
    )
    #: By run and experiment: the variant, and the run that it was assigned to.
    _carried: defaultdict[RunId, dict[str, tuple[str, RunId]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    _batches: dict[str, MemoryBatch] = field(default_factory=dict)
    _gates: defaultdict[GateId, MemoryGate] = field(default_factory=lambda: defaultdict(MemoryGate))
    _limits: defaultdict[str, MemoryLimits] = field(
        default_factory=lambda: defaultdict(MemoryLimits)
    )
    _lanes: dict[Lane, MemoryLane] = field(default_factory=dict)
    _passes: dict[RunId, MemoryPass] = field(default_factory=dict)
    #: Says at what time a history is told something.
    clock: Callable[[], float] = field(default=time, kw_only=True)
    _parks: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __post_init__(self) -> None:
        self._parked = threading.Condition(self._lock)

    def _has(self, id: RunId, token: str) -> bool:
        return id in self._outbox and self._outbox[id].token == token

    def _lease(self, id: RunId, until: float, now: float) -> Leased:
        record = self._outbox[id]
        self._outbox[id] = replace(record, due=until, lease=until, tries=record.tries + 1)
        lease = Leased(id, record.token, record.body, record.tries + 1, record.is_cancelled)
        return replace(lease, left=record.expires - now)

    def _ring(self) -> None:
        """Set off the alarm."""
        self._parks += 1
        self._parked.notify_all()

    def _past(self, digest: str) -> list[SentEvent]:
        return self._events.get(digest, [])


class MemoryAlarm:
    """Goes off when a run parks, in this process."""

    def __init__(
        self,
        condition: threading.Condition,
        parked: Callable[[], int],
        next_due: Callable[[], float | None],
    ) -> None:
        self._condition = condition
        self._parked = parked
        self._next_due = next_due
        self._seen = parked()

    def wait(self, seconds: float) -> float | None:
        with self._condition:
            if not self._condition.wait_for(lambda: self._parked() != self._seen, seconds):
                return None
            self._seen = self._parked()
            return self._next_due()

    def close(self) -> None:
        pass
