"""What is said of the values of a score in a variant, and of the difference between two variants.

The functions are pure: numbers in, numbers out. A boolean counts as 1 or 0, so the mean of booleans
is the rate of True.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from typing_extensions import Self

from celery_defer.errors import ScoreError

__all__ = ["Interval", "Summary", "interval", "mean_of"]

# The two-sided 95% interval lies between these quantiles of the normal distribution.
_UPPER = 0.975
_Z = NormalDist().inv_cdf(_UPPER)

_NO_SCIPY = "that of a mean needs scipy: pip install 'celery-defer[stats]'"
_TOO_FEW = "it needs two values in each variant"
_ALL_SAME = "all values of each variant are the same, so nothing says how much they vary"
_TOO_LARGE = "the values are too large"


@dataclass(frozen=True, slots=True)
class Summary:
    """The values of a score in one variant."""

    n: int  #: How many values there are, at least 1.
    mean: float  #: Their mean; of booleans the rate of True.
    #: Their standard deviation: of a sample, divided by n - 1. None for one value.
    deviation: float | None
    min: float  #: The smallest.
    #: A quarter of the values lies below; between two values by linear interpolation, which is type
    #: 7 of Hyndman and Fan, Sample Quantiles in Statistical Packages, The American Statistician
    #: 50 (1996), and what numpy and pandas do.
    q1: float
    median: float  #: Half of them lies below.
    q3: float  #: Three quarters lie below.
    max: float  #: The largest.
    is_rate: bool  #: Whether all of them are booleans.

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Return the summary of *values*, each read once and kept in 8 bytes.

        Raises ScoreError if there are none, or one that is not finite.
        """
        numbers, is_rate = array("d"), True
        for value in values:
            is_rate = is_rate and isinstance(value, bool)
            numbers.append(value)
        if not numbers or not all(map(math.isfinite, numbers)):
            raise ScoreError("a summary is of finite numbers, one at least")
        return cls._of(sorted(numbers), is_rate)

    @classmethod
    def _of(cls, ordered: Sequence[float], is_rate: bool) -> Self:
        mean = mean_of(ordered)
        return cls(
            n=len(ordered),
            mean=mean,
            deviation=_deviation(ordered, mean),
            min=ordered[0],
            q1=_quantile(ordered, 0.25),
            median=_quantile(ordered, 0.5),
            q3=_quantile(ordered, 0.75),
            max=ordered[-1],
            is_rate=is_rate,
        )


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference between two variants, and where the true one lies with 95% confidence.

    *low* and *high* are None if there is no interval; *problem* then says why.
    """

    value: float
    low: float | None
    high: float | None
    method: str
    problem: str | None = None

    @property
    def is_clear(self) -> bool:
        """Whether the interval does not include 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def mean_of(values: Sequence[float]) -> float:
    """Return the mean of *values*; a boolean if all of them are that boolean.

    This is how the values that one run has of one score, from several steps, count as one.
    """
    if min(values) == max(values):
        return values[0]  # without an error of rounding
    try:
        return math.fsum(values) / len(values)
    except OverflowError:
        return math.fsum(value / len(values) for value in values)


def interval(first: Summary, other: Summary) -> Interval:
    """Return the difference of the means, *other* minus *first*, with a 95% interval.

    Of two rates it is Newcombe's, of other means Welch's, which needs scipy.
    """
    if first.is_rate and other.is_rate:
        return _newcombe(first, other)
    return _welch(first, other)


def _newcombe(first: Summary, other: Summary) -> Interval:
    """Return the interval of a difference of rates: Wilson's intervals, squared and added.

    Method 10 of R. G. Newcombe, Interval estimation for the difference between independent
    proportions: comparison of eleven methods, Statistics in Medicine 17 (1998), 873-890. It is
    defined for all counts, also for rates of 0 and 1.
    """
    value = other.mean - first.mean
    first_low, first_high = _wilson(first)
    other_low, other_high = _wilson(other)
    low = value - math.hypot(other.mean - other_low, first_high - first.mean)
    high = value + math.hypot(other_high - other.mean, first.mean - first_low)
    return Interval(value, low, high, "Newcombe")


def _wilson(rate: Summary) -> tuple[float, float]:
    """Return the score interval of E. B. Wilson, JASA 22 (1927), 209-212."""
    p, n = rate.mean, rate.n
    scale = 1 + _Z**2 / n
    center = (p + _Z**2 / (2 * n)) / scale
    half = _Z / scale * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    return max(0.0, center - half), min(1.0, center + half)


def _welch(first: Summary, other: Summary) -> Interval:
    """Return the interval of a difference of means, whatever the two variances are.

    B. L. Welch, The generalization of "Student's" problem when several different population
    variances are involved, Biometrika 34 (1947), 28-35.
    """
    value = other.mean - first.mean
    error = math.hypot(_error(first), _error(other))
    if problem := _problem(first, other, value, error):
        return Interval(value, None, None, "Welch", problem)
    half = error * _t_quantile(_freedom(first, other, (_error(first) / error) ** 2))
    if not math.isfinite(value - half) or not math.isfinite(value + half):
        return Interval(value, None, None, "Welch", _TOO_LARGE)
    return Interval(value, value - half, value + half, "Welch")


def _error(summary: Summary) -> float:
    """Return the standard error of a mean."""
    return math.inf if summary.deviation is None else summary.deviation / math.sqrt(summary.n)


def _problem(first: Summary, other: Summary, value: float, error: float) -> str | None:
    """Return why there is no interval; None if there is one."""
    if first.n == 1 or other.n == 1:
        return _TOO_FEW
    if not math.isfinite(value) or not math.isfinite(error):
        return _TOO_LARGE
    if not error:
        return _ALL_SAME
    return None if _has_scipy() else _NO_SCIPY


def _freedom(first: Summary, other: Summary, share: float) -> float:
    """Return Welch's degrees of freedom; *share* is what *first* adds to the variance."""
    return 1 / (share**2 / (first.n - 1) + (1 - share) ** 2 / (other.n - 1))


def _has_scipy() -> bool:
    try:
        import scipy.special  # noqa: F401, PLC0415 - an extra
    except ImportError:
        return False
    return True


def _t_quantile(freedom: float) -> float:
    # Not scipy.stats, which takes a second to import.
    from scipy.special import stdtrit  # noqa: PLC0415 - an extra

    return float(stdtrit(freedom, _UPPER))


def _deviation(values: Sequence[float], mean: float) -> float | None:
    if len(values) == 1:
        return None
    # Squares may be too large, or too small, for a float; hypot minds that.
    deviation = math.hypot(*(value - mean for value in values)) / math.sqrt(len(values) - 1)
    return deviation if math.isfinite(deviation) else None


def _quantile(ordered: Sequence[float], part: float) -> float:
    place = part * (len(ordered) - 1)
    below = ordered[math.floor(place)]
    above = ordered[math.ceil(place)]
    between = place % 1
    return below if below == above else below * (1 - between) + above * between
