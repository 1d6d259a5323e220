"""A table, a list of fields and a tree, as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from celery_defer.views import words

_GAP = "  "


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text below the names of their columns.

    On a narrow screen the columns *apart* stand on a line of their own: a row's id above all.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    apart: Sequence[str] = ()

    def lines(self) -> Iterator[str]:
        """Yield the lines, with each column as wide as its widest text."""
        rows = [self.columns, *self.clean()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            yield _GAP.join(map(str.ljust, row, widths)).rstrip()

    def clean(self) -> list[list[str]]:
        """Return the rows without characters that a terminal would act on."""
        return [[words.line(cell) for cell in row] for row in self.rows]


@dataclass(frozen=True, slots=True)
class Fields:
    """Values with their names, one a line; an empty value has no line."""

    pairs: Sequence[tuple[str, str]]

    def lines(self) -> Iterator[str]:
        pairs = self.clean()
        width = max((len(name) for name, _ in pairs), default=0)
        for name, value in pairs:
            yield f"{name.ljust(width)}{_GAP}{value}"

    def clean(self) -> list[tuple[str, str]]:
        """Return the pairs that have a value, without characters that a terminal would act on."""
        return [(name, words.line(value)) for name, value in self.pairs if value]


def branches(depths: Sequence[int]) -> list[str]:
    """Return the lines of a tree to the left of each of its rows, given how deep each row is.

    >>> branches([0, 1, 2, 1])
    ['', '├─ ', '│  └─ ', '└─ ']
    """
    branches: list[str] = []
    open_at: set[int] = set()  # the depths at which another row follows below
    for depth in reversed(depths):
        open_at = {each for each in open_at if each <= depth}
        trunk = "".join("│  " if each in open_at else "   " for each in range(1, depth))
        end = "├─ " if depth in open_at else "└─ "
        branches.append(trunk + end if depth else "")
        open_at.add(depth)
    return branches[::-1]


def joined(parts: Iterable[str]) -> str:
    """Return the parts that are not empty, with a gap between them."""
    return _GAP.join(part for part in parts if part)
