"""The page of a call's life shows what the code's transition table says."""

from __future__ import annotations

import re
from pathlib import Path

from celery_defer.model import TRANSITIONS, CallState
from tests.docs.chart import chart

PAGE = (Path(__file__).parents[2] / "docs/explanation/states.md").read_text()


def test_the_chart_is_the_table_of_the_code() -> None:
    [shown] = re.findall(r"^```text\n(.*?)^```$", PAGE, re.M | re.S)

    assert shown == chart(TRANSITIONS)


def test_each_step_has_a_row_that_says_when() -> None:
    rows = re.findall(r"^\| ([A-Z]+) \| ([A-Z]+) \| \S", PAGE, re.M)
    steps = [(start.value, end.value) for start, ends in TRANSITIONS.items() for end in ends]

    assert sorted(rows) == sorted(steps)


def test_each_state_is_described() -> None:
    described = re.findall(r"^- \*\*([A-Z]+)\*\*:", PAGE, re.M)

    assert sorted(described) == sorted(state.value for state in CallState)


def test_a_chart_has_an_arrow_for_each_step() -> None:
    first, second, third = CallState.BUFFERED, CallState.STAGED, CallState.ABORTED
    table = {third: frozenset[CallState](), first: frozenset({third, second}), second: {third}}

    assert chart({state: frozenset(ends) for state, ends in table.items()}) == (
        "  BUFFERED  STAGED  ABORTED\n"
        "   ├─────────▶       │\n"
        "   ├─────────┼───────▶\n"
        "   │         ├───────▶\n"
    )
