"""The arithmetic of the bench."""

from __future__ import annotations

import pytest

from tests.bench.figures import Figure, Ratio, at_least, at_most, ratio, shown, verdict


def test_rounds_are_divided_one_by_one():
    # The machine was four times slower in the second round, for both.
    measured = ratio([2, 8, 2], [4, 16, 4])

    assert measured == Ratio(median=0.5, low=0.5, high=0.5, rounds=3)


def test_one_odd_round_moves_neither_the_median_nor_the_quartiles():
    measured = ratio([1, 1, 1, 1, 100], [2, 2, 2, 2, 2])

    assert (measured.median, measured.low, measured.high) == (0.5, 0.5, 0.5)


def test_the_quartiles_tell_the_spread():
    measured = ratio([1, 2, 3, 4, 5], [1, 1, 1, 1, 1])

    assert (measured.low, measured.median, measured.high) == (2, 3, 4)


def test_a_series_that_misses_a_round_is_refused():
    with pytest.raises(ValueError, match="shorter"):
        ratio([1, 2], [1])


def test_one_round_has_no_spread():
    assert ratio([1], [4]) == Ratio(0.25, 0.25, 0.25, 1)


@pytest.mark.parametrize(
    ("measured", "target", "said"),
    [
        (Ratio(0.18, 0.17, 0.19, 9), at_most(1 / 5), "met"),
        (Ratio(0.20, 0.20, 0.20, 9), at_most(1 / 5), "met"),
        (Ratio(0.25, 0.24, 0.26, 9), at_most(1 / 5), "missed"),
        (Ratio(1.20, 1.15, 1.30, 9), at_least(1.1), "met"),
        (Ratio(1.00, 0.95, 1.05, 9), at_least(1.1), "missed"),
        (Ratio(0.995, 0.97, 1.02, 9), at_least(0.99), "met, within the spread"),
        (Ratio(0.985, 0.97, 1.02, 9), at_least(0.99), "missed, within the spread"),
        (Ratio(0.21, 0.19, 0.22, 9), at_most(1 / 5), "missed, within the spread"),
        (Ratio(3.00, 2.90, 3.10, 9), None, ""),
    ],
)
def test_a_verdict_says_when_the_rounds_disagree(measured, target, said):
    assert verdict(measured, target) == said


def test_a_figure_keeps_the_medians_beside_the_ratio():
    figure = Figure.of("redis", "100 calls", [10, 40, 20], [100, 100, 100], target=at_most(1 / 4))

    assert (figure.ours, figure.theirs, figure.ratio.median) == (20, 100, 0.2)
    assert figure.verdict == "met, within the spread"


@pytest.mark.parametrize(
    ("value", "text"), [(0.02, "1/50"), (0.0172, "1/58.1"), (0.99, "0.990"), (1.1, "1.100")]
)
def test_a_small_ratio_is_shown_as_a_fraction(value, text):
    assert shown(value) == text
