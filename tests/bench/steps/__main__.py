"""``python -m tests.bench.steps``: measure steps and waits, print one table and one JSON."""

from __future__ import annotations

from tests.bench.command import measure
from tests.bench.steps.measures import FULL, MEASURES, QUICK

if __name__ == "__main__":
    measure(
        "tests.bench.steps",
        __doc__,
        "two minutes' worth, small crowds",
        MEASURES,
        (FULL, QUICK),
    )
