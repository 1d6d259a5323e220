"""Scores, how variants compare, and limits, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from celery_defer.scoring import Comparison, Difference, Summary
from celery_defer.scoring.comparison import COUNTS
from celery_defer.store import ScoreRow
from celery_defer.views import words
from celery_defer.views.cli.table import Table
from celery_defer.views.rows import FlowRow
from celery_defer.views.times import moment

_COMMENT = 60


def scores(rows: Sequence[ScoreRow], now: datetime) -> Table:
    """Return scores of several runs."""
    return Table(("run", *_COLUMNS), [(row.run, *_score(row, now)) for row in rows], apart=("run",))


def scores_of_run(rows: Sequence[ScoreRow], now: datetime) -> Table:
    """Return the scores of one run."""
    return Table(_COLUMNS, [_score(row, now) for row in rows])


def comparison(of: Comparison) -> Iterator[tuple[str, Table]]:
    """Yield the parts of a comparison, each with its title: the variants, and each score."""
    yield f"experiment {of.experiment}", _variants(of)
    for score in of.scores:
        yield score, _of_score(of, score)


def limits(rows: Sequence[FlowRow]) -> Table:
    """Return the limits of tasks, with how many runs they hold back."""
    return Table(
        ("task", "limit", "in force", "changed", "running", "lines", "held"),
        [(row.task, *cells) for row in rows for cells in _flow(row)],
        apart=("task",),
    )


# -- private ------------------------------------------------------------------------------

_COLUMNS = ("score", "value", "step", "source", "written", "comment")
_SUMMARY = ("n", "mean", "deviation", "min", "q1", "median", "q3", "max")


def _flow(of: FlowRow) -> Iterator[tuple[str, ...]]:
    """Yield the cells of a task's limits; what holds all of them back stands first."""
    held = f"{of.held:,}"
    if of.is_paused or not of.limits:
        state = "paused" if of.is_paused else words.NOTHING
        yield "pause", state, words.NOTHING, words.NOTHING, words.NOTHING, held
        held = ""
    for row in of.limits:
        changed = ", ".join(sorted(row.override)) or words.NOTHING
        yield row.name, words.limit(row), changed, f"{row.running:,}", f"{row.lines:,}", held
        held = ""


def _score(row: ScoreRow, now: datetime) -> tuple[str, ...]:
    return (
        row.name, words.json(row.value), row.step or words.NOTHING, row.source or words.NOTHING,
        words.ago(moment(row.at), now), words.cut(row.comment or "", _COMMENT),
    )  # fmt: skip


def _variants(of: Comparison) -> Table:
    return Table(
        ("variant", *(count.replace("_", " ") for count in COUNTS)),
        [
            (
                row.variant,
                *(f"{getattr(row, count):,}" for count in COUNTS),
            )
            for row in of.variants
        ],
    )  # fmt: skip


def _of_score(of: Comparison, score: str) -> Table:
    differences = {each.variant: each for each in of.differences if each.score == score}
    return Table(
        ("variant", "awaited", *_SUMMARY, "difference", "95% interval"),
        [
            (
                row.variant,
                f"{row.awaited[score]:,}",
                *_summary(row.scores[score]),
                *_difference(differences.get(row.variant)),
            )
            for row in of.variants
            if score in row.scores
        ],
    )


def _summary(its: Summary) -> tuple[str, ...]:
    n, *others = (getattr(its, name) for name in _SUMMARY)
    return (f"{n:,}", *map(words.number, others))


def _difference(of: Difference | None) -> tuple[str, str]:
    if of is None:
        return words.NOTHING, words.NOTHING
    return words.number(of.value), words.interval(of)
