"""``python -m tests.bench.flow``: measure limits of functions, print one table and one JSON."""

from __future__ import annotations

from tests.bench.command import measure
from tests.bench.flow.measures import FULL, MEASURES, QUICK

if __name__ == "__main__":
    measure(
        "tests.bench.flow", __doc__, "two minutes' worth, small crowds", MEASURES, (FULL, QUICK)
    )
