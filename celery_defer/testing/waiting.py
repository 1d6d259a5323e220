"""What a parked run of a simulation waits for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from celery_defer.events import Woken
from celery_defer.outbox import ParkedRun, unpack
from celery_defer.steps import Note
from celery_defer.testing.tracks import Runs, Track


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a parked run waits for."""

    step: str  #: The id of the step.
    kind: str  #: ``"sleep"``, ``"event"``, ``"run"`` (one that was invoked) or ``"retry"``.
    #: When the wait is over at the latest, with time zone UTC; None for a run that was invoked.
    until: datetime | None
    event: str | None = None  #: The name of the event; None for other kinds.
    #: The values that the event must have, by their paths and as JSON has them; ``{}`` where any
    #: event of the name will do; None for other kinds.
    match: Mapping[str, Any] | None = field(default=None, hash=False)
    run: str | None = None  #: The id of the run that was invoked; None for other kinds.


class Nobody(Woken):
    """What an event returns that has woken no run; its repr says what the runs wait for."""

    _text: str

    @classmethod
    def of(cls, waits: Mapping[str, Waiting | None], *, is_repeat: bool) -> Nobody:
        nobody = cls(0, is_repeat=is_repeat)
        nobody._text = "; ".join(f"{run}: {describe(wait)}" for run, wait in waits.items() if wait)
        return nobody

    def __repr__(self) -> str:
        if self.is_repeat:
            return "0 (an event with this id was sent before)"
        return f"0 ({self._text or 'no run waits'})"


def waiting(runs: Runs, track: Track) -> Waiting | None:
    """Return what a run waits for; None if it is not parked."""
    parking = runs.store.parking(track.id)
    if parking is None:
        return None
    record = unpack(track.id, parking.body)
    child = record.child if isinstance(record, ParkedRun) else None
    # Without the order of what happens at one moment.
    until = None if child else datetime.fromtimestamp(round(parking.due, 3), timezone.utc)
    if child:
        return Waiting(parking.step, "run", until, run=child[0])
    if parking.subscription:
        name, match = parking.subscription.name, track.waits_for.get("match")
        return Waiting(parking.step, "event", until, event=name, match=match)
    kind = "retry" if Note.unpack(parking.note).tries else "sleep"
    return Waiting(parking.step, kind, until)


def describe(wait: Waiting) -> str:
    """Return a sentence on what a run waits for."""
    at, until = f"it waits at step {wait.step!r}", wait.until and wait.until.isoformat()
    if wait.kind == "run":
        return f"{at} for run {wait.run}"
    if wait.kind == "event":
        values = " and ".join(f"{path} = {value!r}" for path, value in (wait.match or {}).items())
        return f"{at} for event {wait.event!r}{values and f' with {values}'} until {until}"
    purpose = ", to try it again," if wait.kind == "retry" else ""
    return f"{at}{purpose} until {until}"
