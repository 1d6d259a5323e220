"""``python -m tests.bench.views``: measure the command line, print one table and one JSON."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.bench.figures import Figure
from tests.bench.table import as_json, as_table
from tests.bench.views.measures import FULL, MEASURES, QUICK


def main() -> None:
    options = _options()
    size = QUICK if options.quick else FULL
    figures: list[Figure] = []
    for name in options.only or list(MEASURES):
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        figures += MEASURES[name](size)
    found = json.dumps(as_json(figures), indent=2)
    if options.json == "-":
        print(found)
        return
    print(as_table(figures))
    if options.json:
        Path(options.json).write_text(found + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.views", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ten seconds' worth, few runs")
    parser.add_argument("--only", action="append", choices=MEASURES, help="may be repeated")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="to FILE, or instead of the table"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
