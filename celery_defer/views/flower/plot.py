"""The picture of a score: its values in each variant, and the differences to the first one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from celery_defer.scoring import Comparison, Difference, Summary
from celery_defer.text import three_digits
from celery_defer.views import words
from celery_defer.views.flower.axis import Axis

#: How high a row is, in the units of an axis, as plot.html draws it.
ROW = 44.0
_FOOT = 28.0
_NAME = 46


@dataclass(frozen=True, slots=True)
class Mark:
    """A variant of a panel: a line, a box on it, its median and a point; None is not drawn."""

    name: str
    text: str  # the numbers that it shows
    line: tuple[float, float] | None = None  # from where to where
    box: tuple[float, float] | None = None  # where it begins, and how wide it is
    median: float | None = None
    point: float | None = None

    @property
    def label(self) -> str:
        """The name, as far as there is room for it."""
        return words.cut(self.name, _NAME)


@dataclass(frozen=True, slots=True)
class Panel:
    """Marks, one below the other, and the numbers of their axis; ``zero`` is where 0 lies."""

    title: str
    marks: Sequence[Mark]
    ticks: Sequence[tuple[float, str]]
    zero: float | None = None

    @property
    def text(self) -> str:
        """All that it shows, in words."""
        return "; ".join(f"{mark.name}: {mark.text}" for mark in self.marks)

    @property
    def bottom(self) -> float:
        """Where the axis lies."""
        return ROW * len(self.marks)

    @property
    def height(self) -> float:
        return self.bottom + _FOOT


def panels(comparison: Comparison, score: str) -> list[Panel]:
    """Return the panel of a score's values, and that of the differences if there are any."""
    summaries = {
        row.variant: row.scores[score] for row in comparison.variants if score in row.scores
    }
    # Of values that are too large the difference is infinite.
    differences = [
        each for each in comparison.differences if each.score == score and math.isfinite(each.value)
    ]
    values = _of_rates if all(each.is_rate for each in summaries.values()) else _of_numbers
    return [values(summaries), *_of_differences(differences)]


def _of_rates(summaries: dict[str, Summary]) -> Panel:
    axis = Axis(0.0, 1.0)
    marks = [
        Mark(name, f"rate {three_digits(its.mean)}", box=axis.span(0.0, its.mean))
        for name, its in summaries.items()
    ]
    return Panel("Rate", marks, axis.ticks())


def _of_numbers(summaries: dict[str, Summary]) -> Panel:
    axis = Axis.of(end for its in summaries.values() for end in (its.min, its.max))
    marks = [_box(name, its, axis) for name, its in summaries.items()]
    return Panel("Smallest, quartiles, largest; the mean as a point", marks, axis.ticks())


def _box(name: str, its: Summary, axis: Axis) -> Mark:
    numbers = ("min", "q1", "median", "q3", "max", "mean")
    return Mark(
        name,
        ", ".join(f"{each} {three_digits(getattr(its, each))}" for each in numbers),
        line=(axis.place(its.min), axis.place(its.max)),
        box=axis.span(its.q1, its.q3),
        median=axis.place(its.median),
        point=axis.place(its.mean),
    )


def _of_differences(differences: Sequence[Difference]) -> Iterator[Panel]:
    if not differences:
        return
    ends = (end for each in differences for end in (each.low, each.value, each.high))
    axis = Axis.of([0.0, *(end for end in ends if end is not None)])
    marks = [_interval(each, axis) for each in differences]
    title = f"Difference to {differences[0].baseline}, with its 95% interval"
    yield Panel(title, marks, axis.ticks(), zero=axis.place(0.0))


def _interval(of: Difference, axis: Axis) -> Mark:
    value = three_digits(of.value)
    if of.low is None or of.high is None:
        return Mark(of.variant, f"{value}, without an interval", point=axis.place(of.value))
    ends = axis.place(of.low), axis.place(of.high)
    text = f"{value}, interval {words.interval(of)}"
    return Mark(of.variant, text, line=ends, point=axis.place(of.value))
