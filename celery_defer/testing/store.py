"""The memory store, with what a test may want to know of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from celery_defer.commands import Commands
from celery_defer.errors import RecordError
from celery_defer.ids import RunId
from celery_defer.model import Call
from celery_defer.outbox import DeferredCalls, ParkedRun, unpack
from celery_defer.store import Arrival, Emitted, MemoryStore, Parking, SentEvent, Verdict


@dataclass(eq=False)
class SimulatedStore(MemoryStore):
    """Remembers what was staged, where runs have parked, and which events were sent."""

    calls: dict[str, dict[str, Call]] = field(default_factory=dict)
    parkings: dict[str, Parking] = field(default_factory=dict)
    sent: list[SentEvent] = field(default_factory=list)

    def stage(
        self, id: RunId, token: str, body: bytes, due: float, keep: float, *, replaces: bool = True
    ) -> bool:
        record = unpack(id, body)
        if isinstance(record, DeferredCalls):
            known = self.calls.setdefault(record.parent, {})
            known.update({call.id: call for call in record.calls})
        return super().stage(id, token, body, due, keep, replaces=replaces)

    def park(
        self, id: RunId, parking: Parking, now: float, keep: float, report: Commands | None = None
    ) -> Arrival:
        arrival = super().park(id, parking, now, keep, report)
        if arrival.verdict is Verdict.PARKED:
            self.parkings[id] = parking
        return arrival

    def emit(self, event: SentEvent, digests: Mapping[str, str], **rest: Any) -> Emitted:
        is_over = self._sent.get(event.id) is False
        emitted = super().emit(event, digests, **rest)
        # It is asked again with other shapes, and for more waves of one event.
        if not is_over and event not in self.sent[-1:]:
            self.sent.append(event)
        return emitted

    def parking(self, id: RunId) -> Parking | None:
        """Answer where a run is parked, if it is."""
        kept = self._outbox.get(id)
        return self.parkings[id] if kept is not None and kept.step is not None else None

    def is_cancelled(self, id: RunId) -> bool:
        return id in self._runs and self._runs[id].is_cancelled

    def owner(self, id: RunId) -> str | None:
        """Answer who has claimed a run."""
        return self._owners.get(id)

    def next_due_of(self, has_ended: Callable[[str], bool]) -> float | None:
        """Answer when something is due that is not waiting for a run that goes on.

        Such a wait is looked at every minute, and may last for days.
        """
        return min(self._due(has_ended), default=None)

    def _due(self, has_ended: Callable[[str], bool]) -> Iterator[float]:
        for id, kept in self._outbox.items():
            child = _child(id, kept.body)
            if child is None or has_ended(child):
                yield kept.due


def _child(id: RunId, body: bytes) -> str | None:
    try:
        run = unpack(id, body)
    except RecordError:  # the relay puts it into quarantine
        return None
    return run.child[0] if isinstance(run, ParkedRun) and run.child else None
