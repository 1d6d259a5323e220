"""What a simulation has observed of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from celery.states import FAILURE, PENDING, RETRY, REVOKED, SUCCESS

from celery_defer.ids import RunId
from celery_defer.model import HELD, REPLACED, WAITING, Call, CallState
from celery_defer.outbox import NOBODY
from celery_defer.run import DeferHeader
from celery_defer.store import Recalled, is_in_batch
from celery_defer.testing.store import SimulatedStore

_NOT_ENDED = frozenset({PENDING, RETRY, WAITING, HELD})
#: The states of a run that a limit has dropped.
DROPPED = frozenset({CallState.SKIPPED.value, REPLACED})
_ENDED = frozenset({SUCCESS, FAILURE, REVOKED}) | DROPPED


@dataclass(slots=True)
class Track:
    """What a simulation has observed of one run."""

    id: RunId
    task: str
    headers: Mapping[str, Any]
    state: str = PENDING
    result: Any = None
    exception: BaseException | None = None
    traceback: str | None = None
    passes: int = 0
    steps: dict[str, int] = field(default_factory=dict)
    #: What the run's result shows of its wait.
    waits_for: Mapping[str, Any] = field(default_factory=dict)
    skipped: list[Call] = field(default_factory=list)
    #: Why a limit has dropped it.
    reason: str | None = None
    #: The variants that the run had taken or carried at its last pass.
    variants: Mapping[str, str] = field(default_factory=dict)
    #: Whether the test has looked at how the run ended.
    is_seen: bool = False

    @property
    def has_ended(self) -> bool:
        return self.state in _ENDED

    @property
    def is_unseen_failure(self) -> bool:
        return self.state == FAILURE and not self.is_seen


@dataclass(frozen=True, slots=True)
class Runs:
    """What the runs of one simulation share."""

    app: Any
    store: SimulatedStore
    tracks: dict[str, Track] = field(default_factory=dict)

    def state(self, track: Track) -> str:
        """Return the state of a run as the app's result backend would show it."""
        if track.state not in _NOT_ENDED:
            return track.state
        if self.store.parking(track.id):
            return WAITING
        if self.store.is_held(track.id):
            return HELD
        if self.store.is_cancelled(track.id):
            return REVOKED
        return CallState.ABORTED.value if self.is_aborted(track.id) else track.state

    def is_over(self, track: Track) -> bool:
        """Whether the run has ended; one that was ignored or rejected has too."""
        return self.state(track) not in _NOT_ENDED

    def has_ended(self, id: str) -> bool:
        return id not in self.tracks or self.state(self.tracks[id]) in _ENDED

    def is_received(self, track: Track) -> bool:
        """Whether the run that invoked this one has received its outcome."""
        header, parent = DeferHeader.of(track.headers), track.headers.get("parent_id")
        if header is None or header.step is None or parent not in self.tracks:
            return False
        return header.step in self._recalled(self.tracks[parent]).memos

    def steps_without_function(self, track: Track) -> set[str]:
        """Return the steps of a run that only wait."""
        recalled = self._recalled(track)
        return {*recalled.memos, *recalled.waits} - track.steps.keys()

    def is_aborted(self, id: RunId) -> bool:
        return self.store.owner(id) == NOBODY

    def is_gathered(self, id: RunId) -> bool:
        """Whether a call is in a batch, which may not have left yet."""
        return is_in_batch(self.store.owner(id) or "")

    def batch_of(self, id: RunId) -> RunId | None:
        """Return the run of the batch that a call has left with."""
        batch = RunId((self.store.owner(id) or "").partition(".")[2])
        return batch if self.is_gathered(id) and batch in self.tracks else None

    def _recalled(self, track: Track) -> Recalled:
        return self.store.recall(track.id, None, 0.0)
