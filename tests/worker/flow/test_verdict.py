"""The judge of the trial can say no."""

from __future__ import annotations

import pytest

from tests.worker.flow.verdict import (
    busy,
    ends,
    most_at_once,
    most_in_window,
    of_calls,
    of_limit,
    starts,
)
from tests.worker.flow.witness import Event


def events(*words: str) -> list[Event]:
    """Make events, a second apart: "enter a 1" is of key a and call 1."""
    return [Event(float(at), *word.split()) for at, word in enumerate(words)]


TWO = events("enter a 1", "enter b 2", "enter a 3", "leave a 1", "gone a 3", "enter a 3")


def test_bodies_count_from_their_start_to_their_end_by_key() -> None:
    assert most_at_once(TWO) == {"a": 2, "b": 1}
    assert list(of_limit(TWO, 2)) == []
    assert list(of_limit(TWO, 1)) == ["2 of key a were executing at once, and 1 may"]


def test_bodies_take_the_time_in_which_they_execute() -> None:
    assert busy(events("enter a 1", "enter a 2", "gone a 1", "leave a 2")) == {"a": 4.0}


def test_a_body_that_is_gone_has_not_ended() -> None:
    assert ends(TWO) == {"1": 1}
    assert starts(TWO) == {"a": [0.0, 2.0, 5.0], "b": [1.0]}


@pytest.mark.parametrize(("period", "most"), [(1.0, 1), (1.5, 2), (2.0, 2), (2.1, 3), (99.0, 5)])
def test_a_window_ends_before_its_period_is_over(period: float, most: int) -> None:
    assert most_in_window([0.0, 1.0, 2.0, 3.5, 5.0], period) == most


@pytest.mark.parametrize(
    ("ended", "states", "says"),
    [
        ({"1": 1}, {"1": "succeeded"}, ""),
        ({}, {"1": "held"}, "never ended"),
        ({"1": 2}, {"1": "succeeded"}, "too often"),
        ({"1": 1}, {"1": "running"}, "says running"),
        ({"1": 1, "2": 1}, {"1": "succeeded"}, "never made"),
    ],
)
def test_a_call_that_is_lost_doubled_or_wrong_is_found(
    ended: dict[str, int], states: dict[str, str], says: str
) -> None:
    found = " ".join(of_calls(ended, states, may_lose=0, may_repeat=0))

    assert says in found
    assert bool(found) == bool(says)


def test_what_kills_explain_is_no_fault() -> None:
    states = {"1": "succeeded", "2": "running"}

    assert list(of_calls({"1": 2}, states, may_lose=1, may_repeat=1)) == []
