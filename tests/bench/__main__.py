"""``python -m tests.bench``: measure on real services, print one table and one JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack

from tests.bench.command import parser_of, show
from tests.bench.figures import Figure
from tests.bench.measures import FULL, MEASURES, QUICK, Size
from tests.bench.site import Site, apart_site, rabbitmq_sites, redis_site


def main() -> None:
    parser = parser_of("tests.bench", __doc__, "a minute's worth, with few rounds", MEASURES)
    parser.add_argument("--broker", choices=["redis", "two redis", "rabbitmq"])
    options = parser.parse_args()
    with ExitStack() as stack:
        sites = [
            stack.enter_context(redis_site()),
            stack.enter_context(apart_site()),
            *stack.enter_context(rabbitmq_sites()),
        ]
        chosen = [site for site in sites if site.name.startswith(options.broker or "")]
        size = QUICK if options.quick else FULL
        figures = list(_measured(chosen, options.only or list(MEASURES), size))
    show(figures, options.json)


def _measured(sites: list[Site], names: list[str], size: Size) -> Iterator[Figure]:
    for site in sites:
        for name in names:
            print(f"measuring {name} on {site.name} ...", file=sys.stderr, flush=True)
            yield from MEASURES[name](site, size)


if __name__ == "__main__":
    main()
