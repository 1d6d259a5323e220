"""The options that all benches have, and how figures are shown."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from tests.bench.figures import Figure
from tests.bench.table import as_json, as_table

__all__ = ["measure", "parser_of", "show"]

S = TypeVar("S")


def measure(
    module: str,
    about: str | None,
    quick: str,
    measures: Mapping[str, Callable[[S], Iterable[Figure]]],
    sizes: tuple[S, S],
) -> None:
    """Run the bench of a module: its *measures*, in the full size or in the quick one."""
    options = parser_of(module, about, quick, measures).parse_args()
    figures: list[Figure] = []
    for name in options.only or list(measures):
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        figures += measures[name](sizes[options.quick])
    show(figures, options.json)


def parser_of(
    module: str, about: str | None, quick: str, measures: Collection[str]
) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--only", action="append", choices=measures, help="may be repeated")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="to FILE, or instead of the table"
    )
    return parser


def show(figures: list[Figure], file: str | None) -> None:
    """Print the table, and write the JSON to a file; to standard output it goes alone."""
    found = json.dumps(as_json(figures), indent=2)
    if file == "-":
        print(found)
        return
    print(as_table(figures))
    if file:
        Path(file).write_text(found + "\n")
