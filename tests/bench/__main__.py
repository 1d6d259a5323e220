"""``python -m tests.bench``: measure on real services, print one table and one JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.bench.figures import Figure
from tests.bench.measures import FULL, MEASURES, QUICK, Size
from tests.bench.site import Site, apart_site, rabbitmq_sites, redis_site
from tests.bench.table import as_json, as_table


def main() -> None:
    options = _options()
    with ExitStack() as stack:
        sites = [
            stack.enter_context(redis_site()),
            stack.enter_context(apart_site()),
            *stack.enter_context(rabbitmq_sites()),
        ]
        chosen = [site for site in sites if site.name.startswith(options.broker or "")]
        size = QUICK if options.quick else FULL
        figures = list(_measured(chosen, options.only or list(MEASURES), size))
    found = json.dumps(as_json(figures), indent=2)
    if options.json == "-":
        print(found)
        return
    print(as_table(figures))
    if options.json:
        Path(options.json).write_text(found + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute's worth, with few rounds")
    parser.add_argument("--only", action="append", choices=MEASURES, help="may be repeated")
    parser.add_argument("--broker", choices=["redis", "two redis", "rabbitmq"])
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="to FILE, or instead of the table"
    )
    return parser.parse_args()


def _measured(sites: list[Site], names: list[str], size: Size) -> Iterator[Figure]:
    for site in sites:
        for name in names:
            print(f"measuring {name} on {site.name} ...", file=sys.stderr, flush=True)
            yield from MEASURES[name](site, size)


if __name__ == "__main__":
    main()
