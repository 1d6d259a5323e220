"""``python -m tests.bench.scores``: measure scores and comparisons, print a table and JSON."""

from __future__ import annotations

from tests.bench.command import measure
from tests.bench.scores.measures import FULL, MEASURES, QUICK

if __name__ == "__main__":
    measure(
        "tests.bench.scores",
        __doc__,
        "some seconds' worth, few runs",
        MEASURES,
        (FULL, QUICK),
    )
