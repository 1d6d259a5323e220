"""Runs and steps as bars on one scale of time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from celery_defer.store import RunState
from celery_defer.views import words
from celery_defer.views.rows import RunRow, StepRow

#: How wide a timeline is, in the units of its bars.
WIDTH = 1000.0
_THINNEST = 4.0
_OPEN = frozenset({RunState.BUFFERED, RunState.PUBLISHED, RunState.RUNNING, RunState.WAITING})


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of the timeline: when it waited for its start, when it ran, and both as text."""

    before: tuple[float, float]  # where it begins, and how wide it is
    work: tuple[float, float]
    text: str


@dataclass(frozen=True, slots=True)
class Scale:
    """The time from *start* to *end*, on ``WIDTH`` units."""

    start: datetime
    end: datetime

    def run(self, row: RunRow) -> Bar | None:
        """Return the bar of a run; None if it has not been deferred, nor has it begun."""
        begins = row.deferred_at or row.published_at or row.started_at
        if begins is None:
            return None
        ends = row.finished_at or (self.end if row.state in _OPEN else begins)
        return self._bar(begins, row.started_at or ends, ends)

    def step(self, row: StepRow) -> Bar | None:
        """Return the bar of a step; None if it is not known when it began."""
        if row.started_at is None:
            return None
        return self._bar(row.started_at, row.started_at, row.finished_at or self.end)

    def _bar(self, begins: datetime, starts: datetime, ends: datetime) -> Bar:
        parts = [f"begins after {_length(begins - self.start)}"]
        if starts > begins:
            parts.append(f"waits {_length(starts - begins)}")
        if ends > starts:
            parts.append(f"takes {_length(ends - starts)}")
        return Bar(
            self._span(begins, starts), self._span(starts, ends, _THINNEST), ", ".join(parts)
        )

    def _span(self, begin: datetime, end: datetime, thinnest: float = 0.0) -> tuple[float, float]:
        whole = (self.end - self.start).total_seconds() or 1.0
        left = WIDTH * (begin - self.start).total_seconds() / whole
        width = WIDTH * (end - begin).total_seconds() / whole
        left = min(max(left, 0.0), WIDTH - thinnest)
        return round(left, 2), round(min(max(width, thinnest), WIDTH - left), 2)


def scale(rows: Iterable[RunRow], now: datetime) -> Scale:
    """Return the scale on which all *rows* have a place; up to *now* if one has not ended."""
    moments, is_open = [], False
    for row in rows:
        known = (row.deferred_at, row.published_at, row.started_at, row.finished_at)
        moments += [moment for moment in known if moment]
        is_open = is_open or row.state in _OPEN
    if is_open or not moments:
        moments.append(now)
    return Scale(min(moments), max(moments))


def _length(time: timedelta) -> str:
    return words.duration(time.total_seconds())
