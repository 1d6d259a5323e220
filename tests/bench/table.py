"""Figures as a table for people and as JSON for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from tests.bench.figures import Figure

__all__ = ["as_json", "as_table"]

_TITLES = ("broker", "figure", "ratio [quartiles]", "n", "target", "met?", "here: ours / theirs")


def as_table(figures: Sequence[Figure]) -> str:
    """Lay figures out in columns; the last column says nothing about another machine."""
    rows = [_TITLES, *map(_row, figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def as_json(figures: Sequence[Figure]) -> dict[str, Any]:
    """Return what the table shows, and what it was measured with."""
    packages = ("celery", "kombu", "redis", "amqp", "pydantic", "celery-defer")
    return {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "packages": {name: version(name) for name in packages},
        "figures": [{**asdict(figure), "verdict": figure.verdict} for figure in figures],
    }


def _row(figure: Figure) -> tuple[str, ...]:
    return (
        figure.broker,
        figure.name,
        str(figure.ratio),
        str(figure.ratio.rounds),
        str(figure.target or ""),
        figure.verdict,
        f"{figure.ours:,.1f} / {figure.theirs:,.1f} {figure.unit}",
    )
