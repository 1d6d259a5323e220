"""Summaries and intervals, against reference values and by simulation.

The reference values are of scipy 1.17.1, statsmodels 0.15.0 and numpy 2.4.6.
"""

from __future__ import annotations

import math
import sys
from decimal import Decimal
from importlib.util import find_spec
from random import Random
from statistics import NormalDist
from typing import Any

import pytest

from celery_defer.errors import ScoreError
from celery_defer.scoring import Interval, Summary, interval, mean_of
from celery_defer.scoring.power import runs_needed

NAN = math.nan


def rate(hits: int, n: int) -> Summary:
    return Summary.of([True] * hits + [False] * (n - hits))


def between(first: list[float], other: list[float]) -> Interval:
    return interval(Summary.of(first), Summary.of(other))


# -- summaries ----------------------------------------------------------------------


def test_a_summary_has_what_numpy_says() -> None:
    """numpy.mean, numpy.std(ddof=1), numpy.percentile with its default method, "linear"."""
    summary = Summary.of(iter([3.1, 2.7, 4.0, 3.6, 2.9, 10.0]))

    assert summary == Summary(
        n=6,
        mean=pytest.approx(4.383333333333334),
        deviation=pytest.approx(2.792430243831825),
        min=2.7,
        q1=pytest.approx(2.95),
        median=pytest.approx(3.35),
        q3=pytest.approx(3.9),
        max=10.0,
        is_rate=False,
    )


def test_booleans_count_as_one_and_zero() -> None:
    summary = rate(3, 4)

    assert summary == Summary(4, 0.75, 0.5, 0, 0.75, 1, 1, 1, True)


def test_ones_and_zeros_that_are_no_booleans_are_numbers() -> None:
    assert not Summary.of([1, 0, 1]).is_rate
    assert not Summary.of([True, 0.5]).is_rate


def test_one_value_has_no_deviation() -> None:
    assert Summary.of([7]) == Summary(1, 7, None, 7, 7, 7, 7, 7, False)


@pytest.mark.parametrize("n", [2, 3, 7, 49, 1_000])
def test_values_that_are_all_the_same_do_not_vary(n: int) -> None:
    summary = Summary.of([0.1] * n)

    assert (summary.mean, summary.deviation) == (0.1, 0.0)
    assert {summary.min, summary.q1, summary.median, summary.q3, summary.max} == {0.1}


@pytest.mark.parametrize("size", [1e308, 1e200, 1e-200, 1e-310])
def test_very_large_and_very_small_values_are_summed_up(size: float) -> None:
    summary = Summary.of([1.0 * size, 1.2 * size, 1.4 * size, 1.6 * size])

    assert summary.mean == pytest.approx(1.3 * size)
    assert summary.deviation == pytest.approx(0.2581988897471611 * size)
    assert summary.median == pytest.approx(1.3 * size)


def test_a_deviation_that_no_float_can_hold_is_none() -> None:
    summary = Summary.of([1.7e308, -1.7e308])

    assert (summary.mean, summary.deviation) == (0, None)


@pytest.mark.parametrize("values", [[], [1, NAN], [math.inf], [NAN]])
def test_a_summary_is_of_finite_numbers(values: list[float]) -> None:
    with pytest.raises(ScoreError, match="finite numbers, one at least"):
        Summary.of(values)


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([3], 3),
        ([True], True),
        ([True, True], True),
        ([False, False, False], False),
        ([True, False], 0.5),
        ([1, 2, 6], 3.0),
        ([1.7e308, 1.7e308, 1.0], pytest.approx(1.7e308 / 3 * 2)),
    ],
)
def test_the_values_of_a_run_count_as_their_mean(values: list[float], mean: Any) -> None:
    assert mean_of(values) == mean
    assert isinstance(mean_of(values), bool) == isinstance(mean, bool)


# -- intervals ----------------------------------------------------------------------

NEEDS_SCIPY = pytest.mark.skipif(find_spec("scipy") is None, reason="scipy is an extra")


@NEEDS_SCIPY
@pytest.mark.parametrize(
    ("first", "other", "value", "low", "high"),
    [
        (
            [3.1, 2.7, 4.0, 3.6, 2.9],
            [4.4, 3.9, 5.2, 4.1, 4.8, 6.0, 3.5],
            *(1.2971428571428576, 0.40519894198347417, 2.189086772302241),
        ),
        ([1, 2], [4, 8], 4.5, -15.743378906988756, 24.743378906988756),
        # One variant does not vary.
        ([5, 5, 5], [1, 2, 3, 4], -2.5, -4.554260256760521, -0.4457397432394794),
        (
            [0.1 * i for i in range(30)],
            [0.07 * i * i for i in range(11)],
            *(1.0, -0.6384256590941477, 2.638425659094148),
        ),
    ],
)
def test_a_difference_of_means_has_welchs_interval(
    first: list[float], other: list[float], value: float, low: float, high: float
) -> None:
    """``scipy.stats.ttest_ind(other, first, equal_var=False).confidence_interval()``.

    And statsmodels: ``CompareMeans(DescrStatsW(other), DescrStatsW(first)).tconfint_diff(
    usevar="unequal")``.
    """
    found = between(first, other)

    assert (found.value, found.low, found.high) == pytest.approx((value, low, high), rel=1e-7)
    assert (found.method, found.problem) == ("Welch", None)


@pytest.mark.parametrize(
    ("first", "other", "low", "high"),
    [
        # All but the last two are examples of Newcombe's paper, with the other sign.
        ((56, 70), (48, 80), -0.33387265403690614, -0.05243147240236498),
        ((9, 10), (3, 10), -0.809017973535488, -0.1705227239345029),
        ((6, 7), (2, 7), -0.8062496375242278, -0.05822792748231209),
        ((5, 56), (0, 29), -0.19256001385511165, 0.038137147903536936),
        ((0, 10), (0, 20), -0.27753279986288926, 0.1611251580528194),
        ((0, 10), (0, 10), -0.27753279986288926, 0.27753279986288926),
        ((10, 10), (0, 20), -1.0, -0.6790860371419145),
        ((10, 10), (0, 10), -1.0, -0.6075093504305241),
        ((0, 1), (1, 1), -0.12210872068194178, 1.0),
        ((380, 2000), (441, 2010), 0.004421457597347446, 0.05434162645542882),
    ],
)
def test_a_difference_of_rates_has_newcombes_interval(
    first: tuple[int, int], other: tuple[int, int], low: float, high: float
) -> None:
    """``statsmodels.stats.proportion.confint_proportions_2indep(*other, *first,
    method="newcomb", compare="diff")``.
    """
    found = interval(rate(*first), rate(*other))

    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)
    assert found.value == pytest.approx(other[0] / other[1] - first[0] / first[1])
    assert (found.method, found.problem) == ("Newcombe", None)


def test_the_other_way_round_the_interval_has_the_other_sign() -> None:
    one, two = interval(rate(9, 10), rate(3, 10)), interval(rate(3, 10), rate(9, 10))

    assert (one.low, one.high) == (-(two.high or 0), -(two.low or 0))


@NEEDS_SCIPY
def test_a_rate_and_numbers_are_compared_as_means() -> None:
    """A run that two steps have scored, True and False, has the mean 0.5."""
    assert between([True, False, True], [True, 0.5, False]).method == "Welch"


@pytest.mark.parametrize(
    ("first", "other", "problem"),
    [
        ([1.0], [2.0, 3.0], "needs two values in each variant"),
        ([1.0, 2.0], [3.0], "needs two values in each variant"),
        ([1.0, 1.0], [2.0, 2.0, 2.0], "all values of each variant are the same"),
        ([1.0, 1.0], [1.0, 1.0], "all values of each variant are the same"),
        ([1.7e308, -1.7e308], [1.0, 2.0], "too large"),
        ([1.7e308, 1.6e308], [-1.7e308, -1.6e308], "too large"),
    ],
)
def test_there_is_no_interval_where_nothing_says_how_much_values_vary(
    first: list[float], other: list[float], problem: str
) -> None:
    found = between(first, other)

    assert (found.low, found.high, found.is_clear) == (None, None, False)
    assert problem in (found.problem or "")


def test_without_scipy_rates_have_an_interval_and_means_say_what_they_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "scipy.special", None)

    assert interval(rate(9, 10), rate(3, 10)).is_clear
    assert between([1.0, 2.0], [4.0, 8.0]).low is None
    assert "pip install 'celery-defer[stats]'" in (between([1.0, 2.0], [4.0, 8.0]).problem or "")


@pytest.mark.parametrize(
    ("low", "high", "is_clear"),
    [
        (0.1, 0.2, True),
        (-0.2, -0.1, True),
        (-0.1, 0.1, False),
        (0.0, 0.1, False),
        (-0.1, 0.0, False),
        (None, None, False),
    ],
)
def test_a_difference_is_clear_if_its_interval_excludes_zero(
    low: float | None, high: float | None, is_clear: bool
) -> None:
    assert Interval(0.0, low, high, "Welch").is_clear is is_clear


# -- coverage -----------------------------------------------------------------------

REPETITIONS = 1_000
# What chance allows an interval of 95%: 3.5 standard deviations of a binomial count.
ALLOWED = 3.5 * math.sqrt(REPETITIONS * 0.95 * 0.05)


def holds(found: Interval, truth: float) -> bool:
    return found.low is not None and found.high is not None and found.low <= truth <= found.high


@NEEDS_SCIPY
@pytest.mark.parametrize(
    ("n", "m", "deviation"), [(10, 10, 1.0), (8, 25, 4.0), (40, 15, 0.2), (100, 300, 2.0)]
)
def test_welchs_interval_holds_the_true_difference_in_95_of_100(
    n: int, m: int, deviation: float
) -> None:
    random = Random(20_260)
    hits = sum(
        holds(
            between(
                [random.gauss(5.0, 1.0) for _ in range(n)],
                [random.gauss(5.5, deviation) for _ in range(m)],
            ),
            0.5,
        )
        for _ in range(REPETITIONS)
    )

    assert hits == pytest.approx(0.95 * REPETITIONS, abs=ALLOWED)


@pytest.mark.parametrize(
    ("n", "p", "m", "q"),
    [(200, 0.5, 200, 0.6), (150, 0.10, 300, 0.14), (400, 0.02, 400, 0.05), (60, 0.9, 80, 0.9)],
)
def test_newcombes_interval_holds_the_true_difference_in_95_of_100(
    n: int, p: float, m: int, q: float
) -> None:
    random = Random(20_260)

    def seen(n: int, p: float) -> Summary:
        return Summary.of([random.random() < p for _ in range(n)])

    hits = sum(holds(interval(seen(n, p), seen(m, q)), q - p) for _ in range(REPETITIONS))

    assert hits == pytest.approx(0.95 * REPETITIONS, abs=ALLOWED)


# -- how many runs ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "effect", "runs"),
    [(0.5, 0.25, 58), (0.1, 0.02, 3_841), (0.0, 0.05, 152), (0.2, -0.05, 906), (0.0, 1.0, 2)],
)
def test_the_runs_that_a_difference_of_rates_needs(p: float, effect: float, runs: int) -> None:
    """``samplesize_proportions_2indep_onetail(effect, p, 0.8, alternative="two-sided")`` of
    statsmodels.stats.proportion, rounded up.
    """
    seen = rate(round(p * 100), 100)

    assert runs_needed(seen, seen, effect) == runs


@pytest.mark.parametrize(("effect", "runs"), [(0.2, 394), (0.5, 64), (0.05, 6_281)])
def test_the_runs_that_a_difference_of_means_needs(effect: float, runs: int) -> None:
    """``TTestIndPower().solve_power(effect, alpha=0.05, power=0.8)`` of statsmodels.stats.power."""
    seen = Summary(100, 0.0, 1.0, -2, -1, 0, 1, 2, False)

    assert runs_needed(seen, seen, effect) == runs
    assert runs_needed(seen, seen, -effect) == runs


def test_an_effect_that_would_raise_a_rate_above_one_lowers_it() -> None:
    seen = rate(90, 100)

    assert runs_needed(seen, seen, 0.2) == runs_needed(seen, seen, -0.2)


@pytest.mark.parametrize(
    ("first", "other", "effect"),
    [
        (rate(5, 10), rate(5, 10), 0.6),
        (rate(5, 10), rate(5, 10), 0.0),
        (Summary.of([1.0]), Summary.of([1.0, 2.0]), 1.0),
        (Summary.of([1.0, 1.0]), Summary.of([2.0, 2.0]), 1.0),
        (Summary.of([1.0, 2.0]), Summary.of([1.0, 3.0]), 1e-300),
    ],
)
def test_how_many_runs_it_takes_may_be_unknown(
    first: Summary, other: Summary, effect: float
) -> None:
    assert runs_needed(first, other, effect) is None


@pytest.mark.parametrize(("p", "effect"), [(0.1, 0.05), (0.4, 0.1)])
def test_so_many_runs_show_the_effect_four_times_in_five(p: float, effect: float) -> None:
    seen = rate(round(p * 100), 100)
    runs = runs_needed(seen, seen, effect)
    assert runs is not None
    random = Random(20_260)

    def draw(p: float) -> Summary:
        # A count of so many runs is all but normal.
        count = NormalDist(runs * p, math.sqrt(runs * p * (1 - p))).inv_cdf(random.random())
        return Summary(runs, round(count) / runs, None, 0, 0, 0, 1, 1, True)

    shown = sum(interval(draw(p), draw(p + effect)).is_clear for _ in range(REPETITIONS))

    assert shown == pytest.approx(800, abs=3.5 * math.sqrt(REPETITIONS * 0.8 * 0.2))


def test_a_decimal_is_a_number_to_a_summary() -> None:
    assert Summary.of([Decimal("0.5"), Decimal("1.5")]).mean == 1.0  # type: ignore[list-item]
