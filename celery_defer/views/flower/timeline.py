"""Runs and steps as bars on one scale of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from celery_defer.views import words
from celery_defer.views.rows import RunRow, StepRow

#: How wide a timeline is, in the units of its bars.
WIDTH = 1000.0
_THINNEST = 4.0
_SOON = timedelta(milliseconds=100)


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of the timeline: when it waited for its start, when it ran, and both as text."""

    before: tuple[float, float]  # where it begins, and how wide it is
    work: tuple[float, float]
    text: str


@dataclass(frozen=True, slots=True)
class Scale:
    """The time from *start* to *end*, on ``WIDTH`` units; what has not ended goes up to the end.

    *now* may be much later: a run that waits for days must not make the others invisible.
    """

    start: datetime
    end: datetime
    now: datetime

    def run(self, row: RunRow) -> Bar | None:
        """Return the bar of a run; None if it has not been deferred, nor has it begun."""
        begins = row.deferred_at or row.published_at or row.started_at
        if begins is None:
            return None
        ends = row.finished_at or (self.now if row.state.is_open else begins)
        return self._bar(begins, row.started_at or ends, ends, is_open=row.state.is_open)

    def step(self, row: StepRow) -> Bar | None:
        """Return the bar of a step; None if it is not known when it began."""
        if row.started_at is None:
            return None
        ends = row.finished_at or self.now
        return self._bar(row.started_at, row.started_at, ends, is_open=row.finished_at is None)

    def _bar(self, begins: datetime, starts: datetime, ends: datetime, *, is_open: bool) -> Bar:
        parts = [f"begins after {_length(begins - self.start)}"]
        if starts > begins:
            parts.append(f"waits {_length(starts - begins)}")
        if ends > starts:
            parts.append(f"takes {_length(ends - starts)}")
        text = ", ".join(parts) + (" so far" if is_open else "")
        return Bar(self._span(begins, starts), self._span(starts, ends, _THINNEST), text)

    def _span(self, begin: datetime, end: datetime, thinnest: float = 0.0) -> tuple[float, float]:
        left = min(self._place(begin), WIDTH - thinnest)
        width = max(self._place(end) - left, thinnest)
        return round(left, 2), round(width, 2)

    def _place(self, at: datetime) -> float:
        whole = (self.end - self.start).total_seconds() or 1.0
        place = WIDTH * (at - self.start).total_seconds() / whole
        return min(max(place, 0.0), WIDTH)


def scale(runs: Sequence[RunRow], steps: Sequence[StepRow], now: datetime) -> Scale:
    """Return the scale on which all that has happened has a place."""
    moments = [at for run in runs for at in _moments(run) if at]
    moments += [at for step in steps for at in (step.started_at, step.finished_at) if at]
    start, end = min(moments, default=now), max(moments, default=now)
    if any(run.state.is_open for run in runs):
        end = min(end + max((end - start) / 4, _SOON), max(now, end))
    return Scale(start, end, now)


def _moments(run: RunRow) -> Iterator[datetime | None]:
    yield from (run.deferred_at, run.published_at, run.started_at, run.finished_at)


def _length(time: timedelta) -> str:
    return words.duration(time.total_seconds())
