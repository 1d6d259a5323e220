"""The memory store, with what a simulation reads from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from celery_defer.commands import Commands
from celery_defer.errors import RecordError
from celery_defer.flow import Ask, Gate
from celery_defer.ids import RunId
from celery_defer.model import Call
from celery_defer.outbox import DeferredCalls, ParkedRun, unpack
from celery_defer.store import (
    HELD_STEP,
    Arrival,
    Emitted,
    Held,
    Holding,
    MemoryStore,
    Parking,
    SentEvent,
    Verdict,
)

# Seconds for which an event with the same id is a repeat; lua/emit.lua has it too.
_DAY = 86_400.0


@dataclass(eq=False)
class SimulatedStore(MemoryStore):
    """Remembers which calls were staged, where runs parked, and which events were sent.

    It calls *on_event* for each event.
    """

    on_event: Callable[[], None] = field(kw_only=True)
    calls: dict[str, dict[str, Call]] = field(default_factory=dict)
    parkings: dict[str, Parking] = field(default_factory=dict)
    sent: list[SentEvent] = field(default_factory=list)

    def _paced(self, gate: Gate) -> Gate:
        """Return a throttle as it is declared: in a simulation no start is late."""
        return gate

    def stage(
        self, id: RunId, token: str, body: bytes, due: float, keep: float, **rest: Any
    ) -> bool:
        record = unpack(id, body)
        if isinstance(record, DeferredCalls):
            self.calls.setdefault(record.parent, {}).update(
                {call.id: call for call in record.calls}
            )
        return super().stage(id, token, body, due, keep, **rest)

    def park(
        self,
        id: RunId,
        parking: Parking,
        now: float,
        keep: float,
        report: Commands | None = None,
        **rest: Any,
    ) -> Arrival:
        arrival = super().park(id, parking, now, keep, report, **rest)
        if arrival.verdict is Verdict.PARKED:
            self.parkings[id] = parking
        return arrival

    def hold(self, ask: Ask, holding: Holding, **rest: Any) -> Held:
        answer = super().hold(ask, holding, **rest)
        self.on_event()  # the next one stands behind it
        return answer

    def emit(self, event: SentEvent, digests: Mapping[str, str], **rest: Any) -> Emitted:
        self._forget_ids(event.at - _DAY)
        is_repeated = self._sent.get(event.id) is False
        emitted = super().emit(event, digests, **rest)
        # One event is emitted again with other shapes, and for each batch of its fan-out.
        if not is_repeated and event not in self.sent[-1:]:
            self.sent.append(event)
            self.on_event()
        return emitted

    def _forget_ids(self, before: float) -> None:
        for event in self.sent:
            if event.at <= before:
                self._sent.pop(event.id, None)

    def parking(self, id: RunId) -> Parking | None:
        """Return where a run is parked; None if it is not."""
        record = self._outbox.get(id)
        is_parked = record is not None and record.step not in (None, HELD_STEP)
        return self.parkings[id] if is_parked else None

    def is_held(self, id: RunId) -> bool:
        """Whether a limit of its function holds a run back."""
        record = self._outbox.get(id)
        return record is not None and record.step == HELD_STEP

    def is_cancelled(self, id: RunId) -> bool:
        return id in self._runs and self._runs[id].is_cancelled

    def owner(self, id: RunId) -> str | None:
        """Return who has claimed a run."""
        return self._owners.get(id)

    def due_times(self, has_ended: Callable[[str], bool]) -> Iterator[float]:
        """Return when records are due, and limits, without runs that wait for one in progress.

        The relay looks after those every minute, and they may wait for days.
        """
        yield from (run.deadline for run in self._runs.values() if run.deadline is not None)
        flow_due = self.flow_due()
        if flow_due is not None:
            yield flow_due
        for id, record in self._outbox.items():
            child = _child(id, record.body)
            if child is None or has_ended(child):
                yield record.due


def _child(id: RunId, body: bytes) -> str | None:
    try:
        record = unpack(id, body)
    except RecordError:  # the relay puts it into quarantine
        return None
    return record.child[0] if isinstance(record, ParkedRun) and record.child else None
