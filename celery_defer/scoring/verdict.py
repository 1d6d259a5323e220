"""What a difference says, in plain sentences: enough data or not, and how many runs more."""

from __future__ import annotations

import math
from dataclasses import dataclass

from celery_defer.scoring.power import runs_needed
from celery_defer.scoring.statistics import Interval, Summary
from celery_defer.text import three_digits

__all__ = ["Verdict", "verdict"]

# With fewer runs a mean is spread like a bell only if the values are.
_FEW = 30


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether there is enough data, how many runs a variant needs, and a sentence about both."""

    is_enough: bool
    runs_needed: int | None
    sentence: str


@dataclass(frozen=True, slots=True)
class _Case:
    """Two variants and what is seen of them; *smallest* is the smallest effect that matters."""

    score: str
    names: tuple[str, str]
    first: Summary
    other: Summary
    interval: Interval
    smallest: float | None

    @property
    def runs(self) -> tuple[int, int]:
        return self.first.n, self.other.n

    @property
    def noun(self) -> str:
        return "rate" if self.first.is_rate and self.other.is_rate else "mean"


def verdict(
    score: str,
    names: tuple[str, str],
    summaries: tuple[Summary, Summary],
    interval: Interval,
    smallest: float | None = None,
) -> Verdict:
    """Return what the difference of the second variant to the first says.

    *smallest* is the smallest effect that matters. Without it, the runs needed are those for an
    effect as large as the one seen, which is itself a guess while there are few runs.
    """
    case = _Case(score, names, *summaries, interval, smallest)
    needed = _needed(case)
    if interval.is_clear:
        return Verdict(True, needed, f"{score}: {_clear(case)}{_caution(case)}")
    is_enough = interval.low is not None and bool(smallest and needed and needed <= min(case.runs))
    if is_enough:
        return Verdict(True, needed, f"{score}: {_none_shown(case)}{_caution(case)}")
    return Verdict(False, needed, f"{score}: {_unclear(case)} {_more(case, needed)}")


def _needed(case: _Case) -> int | None:
    seen = case.interval.value
    effect = math.copysign(case.smallest, seen) if case.smallest else seen
    needed = runs_needed(case.first, case.other, effect)
    if needed is None or case.smallest or case.interval.is_clear:
        return needed
    # The formulas are of large numbers; with a handful of runs they may say that these are enough.
    return max(needed, min(case.runs) + 1)


def _clear(case: _Case) -> str:
    first, other = case.names
    low, high = sorted(abs(bound) for bound in (case.interval.low or 0, case.interval.high or 0))
    direction = "above" if case.interval.value > 0 else "below"
    return (
        f"enough data: the {case.noun} of '{other}' is {direction} that of '{first}' by "
        f"{_shown(low)} to {_shown(high)} (95% interval; {_shown(abs(case.interval.value))} seen)."
    )


def _none_shown(case: _Case) -> str:
    return (
        f"enough data for an effect of {_shown(case.smallest)}, and no difference is shown: the "
        f"95% interval of '{case.names[1]}' minus '{case.names[0]}', {_bounds(case)}, includes 0."
    )


def _unclear(case: _Case) -> str:
    first, other = case.names
    seen = f"the {case.noun} of '{other}' minus that of '{first}' is {_shown(case.interval.value)}"
    if case.interval.low is None:
        return f"no 95% interval: {case.interval.problem}. What is seen: {seen}."
    return (
        f"not enough data: {seen}, and the 95% interval, {_bounds(case)}, includes 0, so either "
        "may be the higher one."
    )


def _more(case: _Case, needed: int | None) -> str:
    """Return how many runs more it takes."""
    if needed is None:
        return _unknown(case)
    effect = (
        "An effect of this size" if not case.smallest else f"An effect of {_shown(case.smallest)}"
    )
    more = " and ".join(
        f"{max(0, needed - n):,} more for '{name}'"
        for name, n in zip(case.names, case.runs, strict=True)
    )
    return f"{effect} takes about {needed:,} runs in each variant (80% power): {more}."


def _unknown(case: _Case) -> str:
    if case.smallest:
        return f"How many runs an effect of {_shown(case.smallest)} takes is not known."
    if not case.interval.value:
        return "Say which effect matters to learn how many runs would show it."
    return "How many runs an effect of this size takes is not known."


def _caution(case: _Case) -> str:
    if case.noun == "rate" or min(case.runs) >= _FEW:
        return ""
    return f" With fewer than {_FEW} runs in a variant this is rough, unless the values are normal."


def _bounds(case: _Case) -> str:
    return f"{_shown(case.interval.low)} to {_shown(case.interval.high)}"


def _shown(number: float | None) -> str:
    return "unknown" if number is None else three_digits(number)
