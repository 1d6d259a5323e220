"""Which waits an event is for."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_core import from_json, to_json

from celery_defer.errors import EventError
from celery_defer.store.match import digests, match


def matches(data: Any, wanted: dict[str, Any], name: str = "event") -> bool:
    asked = match("event", wanted)
    return digests(name, from_json(to_json(data)), [asked.shape])[asked.shape] == asked.digest


ORDER = {
    "id": 7,
    "user": {"id": "u-1", "tags": ["new", "vip"]},
    "lines": [{"sku": "a"}, {"sku": "b", "n": 2}],
    "total": 12.0,
    "note": None,
    "is_gift": True,
    "1": "one",
}


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"id": 7},
        {"id": 7.0},
        {"total": 12},
        {"user.id": "u-1"},
        {"user": {"tags": ["new", "vip"], "id": "u-1"}},
        {"user.tags": ["new", "vip"]},
        {"user.tags.1": "vip"},
        {"lines.1.sku": "b", "lines.0.sku": "a"},
        {"lines.1": {"n": 2.0, "sku": "b"}},
        {"note": None},
        {"is_gift": True},
        {"1": "one"},
    ],
)
def test_all_values_of_a_match_must_be_equal(wanted: dict[str, Any]) -> None:
    assert matches(ORDER, wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        {"id": 8},
        {"id": "7"},
        {"id": True},
        {"id": 7, "user.id": "u-2"},
        {"missing": None},
        {"user.missing": None},
        {"user.id.more": "u-1"},
        {"user.tags": ["vip", "new"]},
        {"user.tags.2": "vip"},
        {"user.tags.-1": "vip"},
        {"lines.sku": "a"},
        {"is_gift": 1},
        {"is_gift": 1.0},
        {"note": ""},
        {"note": False},
        {"user": {"id": "u-1"}},
    ],
)
def test_one_value_that_differs_is_no_match(wanted: dict[str, Any]) -> None:
    assert not matches(ORDER, wanted)


@pytest.mark.parametrize("data", [None, [], "text", 3, [[1]]])
def test_data_of_any_shape_may_be_asked(data: Any) -> None:
    assert matches(data, {})
    assert not matches(data, {"user.id": "u-1"})


def test_a_list_is_asked_by_position() -> None:
    assert matches(["a", ["b"]], {"0": "a", "1.0": "b"})


@pytest.mark.parametrize("path", ["9" * 5_000, "lines." + "9" * 5_000, "0" * 5_000])
def test_a_path_of_thousands_of_digits_is_no_place_in_a_list(path: str) -> None:
    """It would make each send of such an event raise."""
    assert not matches([1], {path: 1})
    assert not matches(ORDER, {path: 1})


@given(st.text(min_size=1), st.one_of(st.lists(st.integers()), st.text()))
def test_no_path_makes_a_send_raise(path: str, data: Any) -> None:
    with suppress(EventError):
        matches(data, {path: 1})


def test_another_name_is_no_match() -> None:
    assert not matches(ORDER, {"id": 7}, name="other")


class Color(Enum):
    RED = "red"


class Item(BaseModel):
    n: int


@pytest.mark.parametrize(
    "value",
    [
        UUID(int=5),
        datetime(2030, 1, 1, tzinfo=timezone.utc),
        Decimal("1.50"),
        Color.RED,
        Item(n=2),
        (1, 2),
        2**70,
        "ß\u2028",
    ],
)
def test_a_value_is_compared_by_its_json(value: Any) -> None:
    assert matches({"at": value}, {"at": value})


@pytest.mark.parametrize("bad", [{"": 1}, {1: 2}, {None: 1}])
def test_a_path_is_text(bad: Any) -> None:
    with pytest.raises(EventError, match=r"no path like 'user\.id'"):
        match("event", bad)


@pytest.mark.parametrize("bad", [[("a", 1)], "a", 3])
def test_a_match_is_a_mapping(bad: Any) -> None:
    with pytest.raises(EventError, match="no mapping of paths to values"):
        match("event", bad)


def test_a_value_without_json_is_an_error() -> None:
    with pytest.raises(EventError, match="is not JSON"):
        match("event", {"a": object()})


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    """What Python calls equal, but True is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@given(values, values)
def test_a_value_matches_what_it_equals(sent: Any, wanted: Any) -> None:
    sent = from_json(to_json(sent, inf_nan_mode="strings"))
    wanted = from_json(to_json(wanted, inf_nan_mode="strings"))

    assert matches({"value": sent}, {"value": wanted}) is same(sent, wanted)


@given(values)
def test_each_value_matches_itself(value: Any) -> None:
    value = from_json(to_json(value, inf_nan_mode="strings"))

    assert matches({"a": {"b": [value]}}, {"a.b.0": value})
