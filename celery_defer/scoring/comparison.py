"""A comparison: an experiment's variants side by side, as values, JSON, CSV and data frames."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from io import StringIO
from typing import Any

from celery_defer.errors import ExperimentError
from celery_defer.scoring.plot import Row, draw
from celery_defer.scoring.statistics import Interval, Summary

__all__ = ["COUNTS", "Comparison", "Difference", "VariantRow"]

#: How runs are counted: the assigned ones, and what became of them.
COUNTS: tuple[str, ...] = ("assigned", "scored", "pending", "missing", "not_sampled")
_NUMBERS = ("n", "mean", "deviation", "min", "q1", "median", "q3", "max")
_BOUNDS = ("low", "high", "method", "is_enough", "runs_needed")
_COLUMNS: tuple[str, ...] = (
    "experiment",
    "variant",
    *COUNTS,
    "open",
    "score",
    "awaited",
    *_NUMBERS,
    "difference",
    *_BOUNDS,
)


@dataclass(frozen=True, slots=True)
class VariantRow:
    """A variant: its runs, and what their scores are.

    ``assigned`` is the sum of ``scored``, ``pending``, ``missing`` and ``not_sampled``.
    """

    variant: str  #: Its name.
    assigned: int  #: The runs that took it.
    scored: int  #: Those with a score, whatever its name.
    pending: int  #: Those without one, whose scorer still runs or waits.
    missing: int  #: Those without one, and none is on its way.
    not_sampled: int  #: Those without one, which their scorer has left out as ``sample=`` says.
    scores: Mapping[str, Summary]  #: The scores by name; one that no run has is not in it.
    #: Those that have not ended, or of which a run that they have deferred has not, with a score or
    #: without: more scores of them may come.
    open: int
    #: By the name of a score: those of ``open`` that do not have it, so it may still come.
    awaited: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of a variant's mean to that of the first variant, for one score."""

    score: str  #: The score's name.
    variant: str  #: The variant.
    baseline: str  #: The first variant.
    value: float  #: The variant's mean minus that of the first; of booleans, of rates.
    #: The true difference lies above this, and below ``high``, with 95% confidence; None if there
    #: is no interval, and the verdict says why.
    low: float | None
    high: float | None  #: See ``low``.
    method: str  #: ``"Newcombe"`` for rates, ``"Welch"`` for other means.
    #: Whether the interval excludes 0, or there are as many runs as the effect that matters needs.
    is_enough: bool
    #: How many runs each variant needs for the effect that matters, else for one of the size seen;
    #: None if it is not known.
    runs_needed: int | None
    verdict: str  #: All that in a sentence.


@dataclass(frozen=True, slots=True)
class Comparison:
    """An experiment's variants side by side."""

    experiment: str  #: Its id.
    variants: tuple[VariantRow, ...]  #: The variants; the others are compared with the first.
    differences: tuple[Difference, ...]  #: For each score and each variant but the first.
    sentences: tuple[str, ...]  #: What to read from it, and what to be careful about.

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it: dicts, lists, text and numbers."""
        return {field.name: _json(getattr(self, field.name)) for field in fields(self)}

    def as_csv(self) -> str:
        """Return it as CSV with a header, a line for each variant and score."""
        file = StringIO()
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        return file.getvalue()

    def frame(self) -> Any:
        """Return it as a ``DataFrame`` of pandas, or of polars where only that is installed.

        It has a row for each variant and score. Raises ImportError if neither is installed.
        """
        rows = list(self.rows())
        try:
            import pandas  # noqa: PLC0415 - users bring it
        except ImportError:
            return _polars(rows)
        return pandas.DataFrame(rows, columns=list(_COLUMNS))

    def plot(self, path: str | os.PathLike[str], *, score: str | None = None) -> None:
        """Draw it by matplotlib, as PNG or SVG by the suffix of *path*; one score, or all.

        It shows min, quartiles, max and mean of each variant, of booleans the rate, and the
        differences with their 95% intervals. Raises ImportError if matplotlib is not installed, and
        ExperimentError if no run has the score.

        >>> compare("checkout-flow").plot("checkout.png", score="bought")
        """
        names = self.scores if score is None else [score]
        if score not in (None, *self.scores) or not names:
            raise ExperimentError(self._no_score(score))
        rows = {name: self._drawn(name) for name in names}
        draw(path, self.experiment, self.variants[0].variant, rows)

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of the scores, sorted."""
        return tuple(sorted({name for row in self.variants for name in row.scores}))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Return a row for each variant and score; one without a score for a variant without."""
        differences = {(each.score, each.variant): each for each in self.differences}
        for row in self.variants:
            for name in sorted(row.scores) or [""]:
                difference = differences.get((name, row.variant))
                yield {
                    "experiment": self.experiment,
                    "variant": row.variant,
                    **_fields(row, COUNTS),
                    "open": row.open,
                    "score": name or None,
                    "awaited": row.awaited.get(name),
                    **_fields(row.scores.get(name), _NUMBERS),
                    "difference": difference and _json(difference.value),
                    **_fields(difference, _BOUNDS),
                }

    def _drawn(self, score: str) -> list[Row]:
        intervals = {
            each.variant: Interval(each.value, each.low, each.high, each.method)
            for each in self.differences
            if each.score == score
        }
        return [
            (row.variant, row.scores[score], intervals.get(row.variant))
            for row in self.variants
            if score in row.scores
        ]

    def _no_score(self, score: str | None) -> str:
        if not self.scores:
            return f"experiment '{self.experiment}' has no scores to draw yet"
        known = ", ".join(f"'{name}'" for name in self.scores)
        return f"experiment '{self.experiment}' has no score '{score}' to draw: give one of {known}"


def _fields(value: object, names: Sequence[str]) -> dict[str, Any]:
    return {name: None if value is None else _json(getattr(value, name)) for name in names}


def _json(value: Any) -> Any:
    """Return *value* as JSON has it, which has no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, tuple):
        return [_json(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _json(item) for name, item in value.items()}
    if is_dataclass(value):
        return {field.name: _json(getattr(value, field.name)) for field in fields(value)}
    return value


def _polars(rows: list[dict[str, Any]]) -> Any:
    try:
        import polars  # noqa: PLC0415 - users bring it
    except ImportError as error:
        raise ImportError(
            "frame() needs pandas or polars, and there is neither: pip install pandas"
        ) from error
    return polars.DataFrame(rows, schema=list(_COLUMNS), infer_schema_length=None)
