"""The text of a key: the same for a value in any process, and another for each other value."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from celery_defer.flow.key import text

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False)
    | st.integers(-3, 3).map(float)
    | st.text()
    | st.characters().map(lambda character: f"{character}\ud800")
    | st.sampled_from(["", "null", "1", "true", "[]", "{}", "#", "NaN", "\x00", "\u2028"])
)
VALUES = st.recursive(
    SCALARS,
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(), parts, max_size=3),
    max_leaves=6,
)


class Plan(str, Enum):
    FREE = "free"


class Level(IntEnum):
    HIGH = 3


class Place(NamedTuple):
    x: int
    y: int


class Order(BaseModel):
    id: int
    tags: set[str] = set()


@dataclass
class Visit:
    page: str
    order: Order


VISIT = '{"order":{"id":7,"tags":["a","b"]},"page":"/"}'


class Name(str):
    __slots__ = ()


@given(VALUES, VALUES)
@example(1, True)
@example(0, False)
@example(None, "null")
@example(None, math.inf)
@example(1, "1")
@example([1, 2], "[1,2]")
@example({"a": [1]}, {"a": 1})
@example("ü\ud800", "\\u00fc\\ud800")
@example(10**70, float(10**70))
def test_two_values_have_one_text_only_if_they_are_equal(one: Any, other: Any) -> None:
    assert (text(one) == text(other)) == is_same(one, other)


@given(VALUES, st.randoms())
def test_an_equal_value_of_another_form_has_the_same_text(value: Any, random: Any) -> None:
    assert text(reformed(value, random)) == text(value)


@given(VALUES)
def test_a_short_text_is_the_json_of_its_value(value: Any) -> None:
    whole = text(value)
    assume(not whole.startswith("#"))

    assert is_same(json.loads(whole), value)


@given(VALUES | st.text(min_size=60, max_size=2_000))
def test_a_text_is_short_and_any_store_can_hold_it(value: Any) -> None:
    assert len(text(value).encode()) <= 64


def test_a_text_of_64_bytes_is_not_too_long() -> None:
    assert text("x" * 62) == f'"{"x" * 62}"'
    assert text("x" * 63).startswith("#")
    assert text("ü" * 32).startswith("#")


def test_a_long_text_differs_in_its_last_character() -> None:
    assert text("x" * 5_000 + "a") != text("x" * 5_000 + "b")


@given(st.sets(st.text() | st.integers(), max_size=20), st.randoms())
def test_a_set_has_an_order(values: set[Any], random: Any) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)

    assert text(set(shuffled)) == text(values) == text(frozenset(shuffled))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        ("acme", '"acme"'),
        ("kürzel", '"kürzel"'),
        (7.0, "7"),
        (-0.0, "0"),
        (7.25, "7.25"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        ((7, "acme"), '[7,"acme"]'),
        ({"b": 1, "a": {2: None}}, '{"a":{"2":null},"b":1}'),
        ({(1, 2): 3}, '{"[1,2]":3}'),
        (Plan.FREE, '"free"'),
        (Level.HIGH, "3"),
        (Place(1, 2), "[1,2]"),
        (Name("acme"), '"acme"'),
        (Decimal("1.50"), '"1.50"'),
        (UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
        (datetime(2026, 1, 2, tzinfo=timezone.utc), '"2026-01-02T00:00:00Z"'),
        (b"\xff\x00", '"_wA="'),
        (
            Visit("/", Order(id=7, tags={"b", "a"})),
            '{"order":{"id":7,"tags":["a","b"]},"page":"/"}',
        ),
    ],
)
def test_a_value_is_compact_json(value: Any, shown: str) -> None:
    assert text(value) == shown


def test_the_text_is_the_same_in_any_process() -> None:
    code = (
        "from celery_defer.flow.key import text\n"
        "names = [f'n-{n}' for n in range(30)]\n"
        "values = [set(names[:5]), frozenset(names), dict.fromkeys(set(names), 1), 'x' * 99, 1.5]\n"
        "print([text(value) for value in values])"
    )

    assert _output(code, "1") == _output(code, "2")


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: 1 and 1.0 are, True and 1 are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    return bool(one == other)


def reformed(value: Any, random: Any) -> Any:
    """Return an equal value: whole numbers as floats, lists as tuples, keys in another order."""
    if isinstance(value, dict):
        items = [(key, reformed(item, random)) for key, item in value.items()]
        random.shuffle(items)
        return dict(items)
    if isinstance(value, list):
        return tuple(reformed(item, random) for item in value)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 2**53 else value


def _output(code: str, seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout
