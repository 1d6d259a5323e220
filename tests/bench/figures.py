"""A figure: a ratio of two ways to do one thing, measured side by side, and its target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

__all__ = ["Figure", "Ratio", "Target", "at_least", "at_most", "ratio", "verdict"]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a ratio should be: at *limit* or beyond it on the good side."""

    limit: float
    more_is_better: bool

    def allows(self, value: float) -> bool:
        return value >= self.limit if self.more_is_better else value <= self.limit

    def __str__(self) -> str:
        return f"{'>=' if self.more_is_better else '<='} {shown(self.limit)}"


def at_most(limit: float) -> Target:
    return Target(limit, more_is_better=False)


def at_least(limit: float) -> Target:
    return Target(limit, more_is_better=True)


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median over rounds, and the quartiles on both sides of it."""

    median: float
    low: float
    high: float
    rounds: int

    def __str__(self) -> str:
        return f"{shown(self.median)} [{shown(self.low)} .. {shown(self.high)}]"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table; *ours* and *theirs* are medians, and say something of one machine."""

    broker: str
    name: str
    ratio: Ratio
    ours: float
    theirs: float
    unit: str
    target: Target | None = None

    @classmethod
    def of(
        cls,
        broker: str,
        name: str,
        ours: Sequence[float],
        theirs: Sequence[float],
        *,
        unit: str = "us",
        target: Target | None = None,
    ) -> Figure:
        """Make the figure of two series that have a value for each round."""
        return cls(broker, name, ratio(ours, theirs), median(ours), median(theirs), unit, target)

    @property
    def verdict(self) -> str:
        return verdict(self.ratio, self.target)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Divide round by round, so that what slows a whole round cancels out."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    if len(ratios) == 1:
        return Ratio(ratios[0], ratios[0], ratios[0], 1)
    low, middle, high = quantiles(ratios, n=4, method="inclusive")
    return Ratio(middle, low, high, len(ratios))


def verdict(measured: Ratio, target: Target | None) -> str:
    """Say whether the median meets the target, and whether the rounds agree on that."""
    if target is None:
        return ""
    word = "met" if target.allows(measured.median) else "missed"
    agreed = target.allows(measured.low) == target.allows(measured.high)
    return word if agreed else f"{word}, within the spread"


def shown(value: float) -> str:
    """Write a ratio; a small one as a fraction, the way that targets are told."""
    return f"1/{1 / value:.1f}".removesuffix(".0") if 0 < value < 0.6 else f"{value:.3f}"
