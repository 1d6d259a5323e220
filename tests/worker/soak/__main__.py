"""``python -m tests.worker.soak``: kill workers under load; exit 1 if a promise was broken."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from secrets import randbelow

from tests.support.redis import own_database
from tests.worker.soak.soak import QUICK, Size, soak


def main() -> int:
    options = _options()
    size = QUICK if options.quick else Size(options.seconds)
    with own_database() as url:
        report = soak(url, options.seed, size, options.keep_logs)
    print("\n".join(report.lines()))
    return 1 if report.violations else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.worker.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=90, help="of load; it drains after")
    parser.add_argument("--quick", action="store_true", help="half a minute in all")
    parser.add_argument(
        "--seed", type=int, default=randbelow(2**32), help="what is drawn at random"
    )
    parser.add_argument("--keep-logs", type=Path, metavar="FOLDER", help="copy the logs there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
