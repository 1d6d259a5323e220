"""``python -m tests.bench.views``: measure the command line, print one table and one JSON."""

from __future__ import annotations

from tests.bench.command import measure
from tests.bench.views.measures import FULL, MEASURES, QUICK

if __name__ == "__main__":
    measure(
        "tests.bench.views",
        __doc__,
        "ten seconds' worth, few runs",
        MEASURES,
        (FULL, QUICK),
    )
