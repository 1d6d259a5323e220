"""Numbers on the width of a picture, and round ones among them."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from typing_extensions import Self

from celery_defer.text import three_digits

#: How wide a picture is, in the units of its marks.
WIDTH = 360.0
_EDGE = 28.0  # half of the numbers below it fits
_TICKS = 4
_MAX = sys.float_info.max
# Steps between round numbers, of which each is at most 2.5 times the one before.
_STEPS = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Axis:
    """The numbers from *low* to *high*, which is more."""

    low: float
    high: float

    @classmethod
    def of(cls, numbers: Iterable[float]) -> Self:
        """Return an axis on which all these numbers have a place."""
        ordered = sorted(numbers)
        low, high = ordered[0], ordered[-1]
        if high / _TICKS > low / _TICKS:
            return cls(low, high)
        room = abs(low) / 10 or 1.0
        return cls(max(low - room, -_MAX), min(high + room, _MAX))

    def place(self, number: float) -> float:
        """Return where a number lies."""
        unit = max(abs(self.low), abs(self.high))  # without it a difference may be too large
        low, high = self.low / unit, self.high / unit
        part = (number / unit - low) / (high - low)
        return round(_EDGE + (WIDTH - 2 * _EDGE) * part, 2)

    def span(self, low: float, high: float) -> tuple[float, float]:
        """Return where a part of the axis begins, and how wide it is."""
        left = self.place(low)
        return left, round(self.place(high) - left, 2)

    def ticks(self) -> list[tuple[float, str]]:
        """Return some round numbers, each with its place."""
        step = _rounded((self.high / _TICKS) - (self.low / _TICKS))
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        numbers = [number * step for number in range(first, last + 1)]
        return [(self.place(number), three_digits(number)) for number in numbers]


def _rounded(step: float) -> float:
    """Return a round number that is at least *step*."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(each * power for each in _STEPS if each * power >= step or each == _STEPS[-1])
