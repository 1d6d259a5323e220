"""The picture of a score, as places on its axis."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_defer.scoring import Difference, Summary, compare_rows
from celery_defer.scoring.comparison import Comparison, VariantRow
from celery_defer.views.flower.axis import WIDTH, Axis
from celery_defer.views.flower.plot import panels

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(FINITE, min_size=1, max_size=20))
def test_all_numbers_of_an_axis_have_a_place_in_their_order(numbers: list[float]) -> None:
    axis = Axis.of(numbers)

    places = [axis.place(number) for number in sorted(numbers)]
    assert places == sorted(places)
    assert all(0 < place < WIDTH for place in places)


@given(st.lists(FINITE, min_size=1, max_size=5))
def test_an_axis_has_a_few_round_numbers(numbers: list[float]) -> None:
    ticks = Axis.of(numbers).ticks()

    places = [place for place, _ in ticks]
    assert places == sorted(places)
    assert len(ticks) <= 6
    assert all(0 <= place <= WIDTH for place in places)


@pytest.mark.parametrize(
    ("numbers", "ticks"),
    [
        ([0, 1], ["0", "0.5", "1"]),
        ([-0.03, 0.11], ["0", "0.05", "0.1"]),
        ([12, 12], ["11", "12", "13"]),
        ([0], ["-1", "-0.5", "0", "0.5", "1"]),
        ([900, 12_345], ["5,000", "10,000"]),
    ],
)
def test_round_numbers(numbers: list[float], ticks: list[str]) -> None:
    assert [text for _, text in Axis.of(numbers).ticks()] == ticks


def compared(**values: list[float]) -> Comparison:
    """Compare variants by one score."""
    assigned = {f"{name}-{n}": name for name, its in values.items() for n in range(len(its))}
    numbers = {f"{name}-{n}": value for name, its in values.items() for n, value in enumerate(its)}
    return compare_rows("checkout", assigned, {"score": numbers})


def test_rates_are_bars_from_nothing_to_all() -> None:
    values, _ = panels(compared(a=[True, False], b=[True, True]), "score")

    axis = Axis(0, 1)
    assert [mark.box for mark in values.marks] == [axis.span(0, 0.5), axis.span(0, 1)]
    assert values.text == "a: rate 0.5; b: rate 1"


def test_numbers_are_boxes_on_one_axis() -> None:
    values, differences = panels(compared(a=[0.0, 1, 2, 3, 4], b=[2.0, 2, 2, 2, 8]), "score")

    axis, mark = Axis(0, 8), values.marks[0]
    assert (mark.line, mark.box) == ((axis.place(0), axis.place(4)), axis.span(1, 3))
    assert (mark.median, mark.point) == (axis.place(2), axis.place(2))
    assert mark.text == "min 0, q1 1, median 2, q3 3, max 4, mean 2"
    assert values.height > differences.height  # which has a row less


def test_a_difference_is_a_point_on_its_interval() -> None:
    comparison = compared(a=[True] * 30 + [False] * 70, b=[True] * 60 + [False] * 40)
    _, differences = panels(comparison, "score")

    [mark], zero = differences.marks, differences.zero
    assert differences.title == "Difference to a, with its 95% interval"
    assert mark.line
    assert mark.point
    assert zero
    assert zero < mark.line[0] < mark.point < mark.line[1]
    assert mark.text.startswith("0.3, interval 0.16")


def test_a_difference_without_an_interval_is_a_point() -> None:
    _, differences = panels(compared(a=[1.0], b=[2.0, 3.0]), "score")

    assert differences.marks[0].line is None
    assert differences.marks[0].text == "1.5, without an interval"


def test_one_variant_has_no_differences() -> None:
    assert len(panels(compared(a=[1.0, 2.0]), "score")) == 1


def test_values_that_are_too_large_for_a_difference() -> None:
    rows = {"a": Summary.of([-1.7e308]), "b": Summary.of([1.7e308])}
    variants = tuple(
        VariantRow(name, 1, 1, 0, 0, 0, {"s": its}, 0, {"s": 0}) for name, its in rows.items()
    )
    difference = Difference("s", "b", "a", math.inf, None, None, "Welch", False, None, "")

    [values] = panels(Comparison("x", variants, (difference,), ()), "s")

    assert [mark.point for mark in values.marks] == [28, WIDTH - 28]
