"""``python -m tests.bench.batch``: measure batches beside runs, print one table and one JSON."""

from __future__ import annotations

from tests.bench.batch.measures import FULL, MEASURES, QUICK
from tests.bench.command import measure

if __name__ == "__main__":
    measure("tests.bench.batch", __doc__, "half a minute's worth", MEASURES, (FULL, QUICK))
