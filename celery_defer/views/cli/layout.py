"""Where the cells of a table stand on a screen of some width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from textwrap import wrap

from celery_defer.views.cli.table import Table

_GAP = 2
# A longer word may be divided: a payload, but no id.
_UUID_WIDTH = 36
# A duration is not divided.
_SHORT = 14
# Texts beside an id keep this width, or the id has a line of its own.
_ROOM = 30


@dataclass(frozen=True, slots=True)
class Layout:
    """The widths of a table's columns, and those whose texts have lines of their own.

    An id is never divided: it is what the next command needs.
    """

    widths: Sequence[int]
    apart: Sequence[int] = ()

    @classmethod
    def of(cls, table: Table, width: int) -> Layout:
        """Return the layout of a table: a line for each row if it has room, else two or more."""
        columns = list(zip(table.columns, *table.clean(), strict=True))
        wide = [max(map(len, column)) for column in columns]
        least = [_longest_word(column) for column in columns]
        if not table.apart:
            return cls(_fitted(wide, least, width))
        apart = [table.columns.index(name) for name in table.apart]
        roomy = [each if n in apart else min(each, _ROOM) for n, each in enumerate(wide)]
        widths = _fitted(wide, list(map(max, least, roomy)), width)
        if _total(widths) <= width:
            return cls(widths)
        rest = [n for n in range(len(wide)) if n not in apart]
        fitted = _fitted([wide[n] for n in rest], [least[n] for n in rest], width - _GAP)
        return cls([*(wide[n] for n in apart), *fitted], apart)

    def lines(self, row: Sequence[str]) -> Iterator[list[str]]:
        """Yield the lines of a row, each as its cells, which are filled up to their widths."""
        count = len(self.apart)
        if count:
            yield list(map(str.ljust, (row[n] for n in self.apart), self.widths))
        rest = [cell for n, cell in enumerate(row) if n not in self.apart]
        parts = list(map(_parts, rest, self.widths[count:]))
        for line in zip_longest(*parts, fillvalue=""):
            # Below the others of its row a line is indented by a gap.
            yield [*[""] * bool(count), *map(str.ljust, line, self.widths[count:])]


def _longest_word(column: Sequence[str]) -> int:
    words = (word for cell in column for word in _words(cell))
    return min(max(map(len, words), default=0), _UUID_WIDTH)


def _words(cell: str) -> list[str]:
    return [cell] if len(cell) <= _SHORT else cell.split()


def _fitted(wide: Sequence[int], least: Sequence[int], width: int) -> list[int]:
    """Return widths with which a row has room, if there are any; the widest column gives first."""
    widths = list(wide)
    while _total(widths) > width:
        spare = [n for n, each in enumerate(widths) if each > least[n]]
        if not spare:
            break
        widths[max(spare, key=widths.__getitem__)] -= 1
    return widths


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _parts(cell: str, width: int) -> list[str]:
    """Return a cell in lines, divided at spaces where that is possible."""
    return wrap(cell, width, break_on_hyphens=False) if len(cell) > width else [cell]
