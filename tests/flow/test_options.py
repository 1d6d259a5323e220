"""The values of limits: which are taken, and what is said of the others."""

from __future__ import annotations

import pickle
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from celery_defer import (
    Batch,
    CancelOn,
    Concurrency,
    Debounce,
    Event,
    OptionError,
    Priority,
    RateLimit,
    Singleton,
    Throttle,
    Timeouts,
)


async def later(payload: Any) -> Any: ...


def several(payload: Any) -> Any:
    yield payload


@pytest.mark.parametrize("period", [3600, 3600.0, "1h", "60m", timedelta(hours=1)], ids=repr)
def test_a_period_is_kept_in_seconds_however_it_is_written(period: Any) -> None:
    assert Throttle(100, period) == Throttle(100, 3600.0)
    assert RateLimit(100, period).period == 3600.0
    assert Debounce(1, timeout=period).timeout == 3600.0
    assert Batch(100, period).timeout == 3600.0
    assert Timeouts(start=period).start == 3600.0
    assert CancelOn("stop", timeout=period).timeout == 3600.0


@pytest.mark.parametrize("limit", [0, -1, 1.5, "5", None, True, 2**31 + 1, 10**400], ids=repr)
def test_a_limit_is_a_whole_number_above_zero(limit: Any) -> None:
    for make in (
        lambda: Concurrency(limit),
        lambda: Throttle(limit, "1h"),
        lambda: Throttle(5, "1h", burst=limit),
        lambda: RateLimit(limit, "1h"),
        lambda: Batch(limit, "1h"),
    ):
        with pytest.raises(OptionError, match="give a whole number above zero"):
            make()


@pytest.mark.parametrize("period", [0, -1, "soon", [1], True, float("nan"), "0.1ms"], ids=repr)
def test_a_period_is_a_duration_above_zero(period: Any) -> None:
    for make in (
        lambda: Throttle(5, period),
        lambda: RateLimit(5, period),
        lambda: Debounce(period),
        lambda: Debounce("1s", timeout=period),
        lambda: Batch(5, period),
        lambda: CancelOn("stop", timeout=period),
        lambda: Timeouts(start=period),
        lambda: Timeouts(finish=period),
    ):
        with pytest.raises(OptionError, match="give seconds, a timedelta, or text such as"):
            make()


@pytest.mark.parametrize("key", ["", ".", "a.", "a..b", 7, ["a"], later, several], ids=range(8))
def test_a_key_is_a_path_or_a_plain_function(key: Any) -> None:
    for make in (
        lambda: Concurrency(5, key),
        lambda: Throttle(5, "1h", key=key),
        lambda: RateLimit(5, "1h", key),
        lambda: Debounce("1s", key),
        lambda: Batch(5, "1s", key),
        lambda: Singleton(key),
        lambda: CancelOn("stop", {"id": key}),
    ):
        with pytest.raises(OptionError, match=r"no path|give a field's name|returns no value"):
            make()


@pytest.mark.parametrize("key", [lambda: 1, lambda a, b: (a, b), lambda *, a: a], ids=range(3))
def test_a_key_function_takes_the_payload_alone(key: Any) -> None:
    with pytest.raises(OptionError, match="does not take one argument"):
        Concurrency(5, key)


def test_a_debounce_whose_timeout_is_the_shorter_is_refused() -> None:
    with pytest.raises(OptionError, match="timeout='1s' is less than period='1m'"):
        Debounce("1m", timeout="1s")


def test_a_mode_that_there_is_not_is_refused() -> None:
    with pytest.raises(OptionError, match=r"give 'skip'.*or 'cancel'"):
        Singleton(mode="wait")  # type: ignore[arg-type]


@pytest.mark.parametrize("function", [60, "plan", later, several], ids=range(4))
def test_a_priority_is_a_plain_function(function: Any) -> None:
    with pytest.raises(OptionError, match="Priority"):
        Priority(function)


@pytest.mark.parametrize("event", [7, "", "a\nb", None, SimpleNamespace(), SimpleNamespace(name=7)])
def test_what_is_no_event_cancels_nothing(event: Any) -> None:
    with pytest.raises(OptionError, match="is no event: give an Event, or the name of one"):
        CancelOn(event)


@pytest.mark.parametrize("match", ["order_id", {"": "id"}, {7: "id"}, {"id": None}], ids=repr)
def test_a_match_leads_from_paths_of_the_event_to_those_of_the_payload(match: Any) -> None:
    with pytest.raises(OptionError, match="match"):
        CancelOn("stop", match)


def test_a_match_that_is_changed_afterwards_stays_as_it_was() -> None:
    match = {"id": "order_id"}
    cancel = CancelOn(Event("order/cancelled", dict), match)
    match.clear()

    assert cancel.match == {"id": "order_id"}
    assert cancel.name == "order/cancelled"


def test_timeouts_without_a_time_are_refused() -> None:
    with pytest.raises(OptionError, match="give start=, finish= or both"):
        Timeouts()


def test_a_limit_goes_through_pickle() -> None:
    options = (Concurrency(5), Throttle(5, "1h", key="a"), Singleton(), CancelOn("stop"))

    assert pickle.loads(pickle.dumps(options)) == options
