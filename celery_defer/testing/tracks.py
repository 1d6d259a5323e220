"""What a simulation has seen of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from celery.states import FAILURE, PENDING, RETRY, REVOKED, SUCCESS

from celery_defer.ids import RunId
from celery_defer.model import WAITING, Call, CallState
from celery_defer.outbox import NOBODY
from celery_defer.run import DeferHeader
from celery_defer.store import Recalled
from celery_defer.testing.store import SimulatedStore

_NOT_ENDED = frozenset({PENDING, RETRY, WAITING})
_ENDED = frozenset({SUCCESS, FAILURE, REVOKED})


@dataclass(slots=True)
class Track:
    """What a simulation has seen of one run."""

    id: RunId
    task: str
    headers: Mapping[str, Any]
    state: str = PENDING
    answer: Any = None
    exception: BaseException | None = None
    traceback: str | None = None
    passes: int = 0
    steps: dict[str, int] = field(default_factory=dict)
    #: What is told of the wait that the run is parked for.
    about: Mapping[str, Any] = field(default_factory=dict)
    skipped: list[Call] = field(default_factory=list)
    #: Whether the test has asked how the run ended.
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
        """Answer the state of a run, as the result backend of the app would tell it."""
        if track.state not in _NOT_ENDED:
            return track.state
        if self.store.parking(track.id):
            return WAITING
        if self.store.is_cancelled(track.id):
            return REVOKED
        return CallState.ABORTED.value if self.is_aborted(track.id) else track.state

    def is_over(self, track: Track) -> bool:
        """Whether nothing more comes of a run: also of one that is ignored or rejected."""
        return self.state(track) not in _NOT_ENDED

    def has_ended(self, id: str) -> bool:
        return id not in self.tracks or self.state(self.tracks[id]) in _ENDED

    def is_received(self, track: Track) -> bool:
        """Whether the run that has invoked this one knows how it has ended."""
        header, parent = DeferHeader.of(track.headers), track.headers.get("parent_id")
        if header is None or header.step is None or parent not in self.tracks:
            return False
        return header.step in self._recalled(self.tracks[parent]).memos

    def functionless(self, track: Track) -> set[str]:
        """Answer the steps of a run that have no function to call."""
        known = self._recalled(track)
        return {*known.memos, *known.waits} - track.steps.keys()

    def is_aborted(self, id: RunId) -> bool:
        return self.store.owner(id) == NOBODY

    def _recalled(self, track: Track) -> Recalled:
        return self.store.recall(track.id, None, 0.0)
