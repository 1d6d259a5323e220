"""A picture of how variants compare, drawn by matplotlib: their values, and their differences."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from celery_defer.scoring.statistics import Interval, Summary

__all__ = ["Row", "draw"]

#: A variant, what its values are, and its difference to the first variant.
Row = tuple[str, Summary, Interval | None]

# Inches.
_WIDTH, _PER_SCORE, _PER_VARIANT = 9.0, 1.2, 0.5
_LONGEST = 40
_BOX, _LINE, _POINT = "#a6c8ec", "#1f4e79", "#9c2f2f"
_HEIGHT = 0.5


def draw(
    path: str | os.PathLike[str],
    experiment: str,
    baseline: str,
    scores: Mapping[str, Sequence[Row]],
) -> None:
    """Write a picture to *path*, in the format that its suffix names.

    For each score it has the values of each variant, and the differences to *baseline* with their
    95% intervals. Raises ImportError without matplotlib.
    """
    figure_of = _figure_class()
    height = sum(_PER_SCORE + _PER_VARIANT * len(rows) for rows in scores.values())
    figure = figure_of(figsize=(_WIDTH, height), layout="constrained")
    figure.suptitle(_cut(experiment), parse_math=False)
    axes = figure.subplots(
        len(scores), 2, squeeze=False,
        gridspec_kw={"height_ratios": [len(rows) + 1 for rows in scores.values()]},
    )  # fmt: skip
    for (name, rows), (values, differences) in zip(scores.items(), axes, strict=True):
        _draw_values(values, name, rows)
        _draw_differences(differences, baseline, rows)
    figure.savefig(path)


def _figure_class() -> Any:
    try:
        # Not pyplot, which opens windows and is not for threads.
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ImportError("plot() needs matplotlib: pip install 'celery-defer[plot]'") from error
    return Figure


def _draw_values(axes: Any, score: str, rows: Sequence[Row]) -> None:
    is_rate = all(summary.is_rate for _, summary, _ in rows)
    for place, (_, summary, _) in enumerate(rows):
        (_draw_rate if is_rate else _draw_box)(axes, place, summary)
    if is_rate:
        axes.set_xlim(0, 1)
    _label(axes, f"{_cut(score)}: {'rate' if is_rate else 'min, quartiles, max; mean as a point'}")
    _name(axes, [f"{_cut(name)} (n = {summary.n:,})" for name, summary, _ in rows])


def _draw_rate(axes: Any, place: int, summary: Summary) -> None:
    axes.barh(place, summary.mean, height=_HEIGHT, color=_BOX, edgecolor=_LINE)


def _draw_box(axes: Any, place: int, summary: Summary) -> None:
    low, high = place - _HEIGHT / 2, place + _HEIGHT / 2
    axes.hlines(place, summary.min, summary.max, color=_LINE)
    axes.barh(
        place, summary.q3 - summary.q1, left=summary.q1, height=_HEIGHT, color=_BOX, edgecolor=_LINE
    )
    axes.vlines([summary.min, summary.max], place - 0.1, place + 0.1, color=_LINE)
    axes.vlines(summary.median, low, high, color=_LINE, linewidth=2)
    axes.plot(summary.mean, place, "D", color=_POINT, markersize=5)


def _draw_differences(axes: Any, baseline: str, rows: Sequence[Row]) -> None:
    if all(seen is None for _, _, seen in rows):
        axes.set_axis_off()
        return
    for place, (_, _, seen) in enumerate(rows):
        if seen is None:
            continue
        if seen.low is not None and seen.high is not None:
            axes.hlines(place, seen.low, seen.high, color=_LINE, linewidth=2)
        axes.plot(seen.value, place, "o", color=_POINT)
    axes.axvline(0, color=_LINE, linestyle="--", linewidth=1)
    _label(axes, f"difference to {_cut(baseline)}, 95% interval")
    _name(axes, [""] * len(rows))


def _label(axes: Any, text: str) -> None:
    axes.set_title(text, fontsize="medium", loc="left", parse_math=False)


def _name(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)  # a name may have dollar signs
    axes.locator_params(axis="x", nbins=6)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
