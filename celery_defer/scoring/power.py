"""How many runs it takes to see an effect."""

from __future__ import annotations

import math
from statistics import NormalDist

from celery_defer.scoring.statistics import Summary

__all__ = ["runs_needed"]

# Two-sided at 5%, with a power of 80%: of five experiments with such an effect, four show it.
_Z = NormalDist().inv_cdf(0.975)
_Z_POWER = NormalDist().inv_cdf(0.8)


def runs_needed(first: Summary, other: Summary, effect: float) -> int | None:
    """Return how many runs each variant needs for an interval that excludes 0.

    If the true difference is *effect*, and the values vary as those seen do, then four of five such
    experiments have such an interval. None where nothing is known of how the values vary, and for
    an effect that a rate cannot have.
    """
    if not effect:
        return None
    is_rate = first.is_rate and other.is_rate
    runs = _for_rates(first.mean, effect) if is_rate else _for_means(first, other, effect)
    return max(2, math.ceil(runs)) if runs and math.isfinite(runs) else None


def _for_rates(p: float, effect: float) -> float | None:
    """Return the size of J. L. Fleiss, B. Levin and M. C. Paik, Statistical Methods for Rates and
    Proportions, 3rd edition (2003), chapter 4, without a correction for continuity.

    It is that of ``power.prop.test`` of R.
    """
    rates = (round(rate, 12) for rate in (p + effect, p - effect))
    q = next((rate for rate in rates if 0 <= rate <= 1), None)
    if q is None:
        return None
    middle = (p + q) / 2
    root = _Z * math.sqrt(2 * middle * (1 - middle)) + _Z_POWER * math.sqrt(
        p * (1 - p) + q * (1 - q)
    )
    return (root / effect) * (root / effect)


def _for_means(first: Summary, other: Summary, effect: float) -> float | None:
    """Return the size of S.-C. Chow, J. Shao and H. Wang, Sample Size Calculations in Clinical
    Research, 2nd edition (2008), section 3.2, with two variances.

    The last term is what t takes more than the normal distribution, by W. C. Guenther, Sample Size
    Formulas for Normal Theory T Tests, The American Statistician 35 (1981), 243-244.
    """
    if first.deviation is None or other.deviation is None:
        return None
    spread = math.hypot(first.deviation, other.deviation)
    root = (_Z + _Z_POWER) * spread / effect
    return root * root + _Z**2 / 4 if spread else None
