"""How long a step waits: what counts as a duration, and what does not."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_defer import StepError
from celery_defer.durations import is_moment, moment, read, seconds, shown


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (90, 90.0),
        (0.5, 0.5),
        (0, 0.0),
        (-5, -5.0),
        (timedelta(days=2, milliseconds=5), 172_800.005),
        (timedelta(seconds=-1), -1.0),
        ("90s", 90.0),
        ("15m", 900.0),
        ("1h30m", 5_400.0),
        ("1h 30m", 5_400.0),
        (" 7d ", 604_800.0),
        ("2w", 1_209_600.0),
        ("250ms", 0.25),
        ("1.5h", 5_400.0),
        ("1m1ms", 60.001),
        ("0s", 0.0),
    ],
)
def test_a_duration_is_seconds_or_a_timedelta_or_text(duration: object, expected: float) -> None:
    assert seconds("nap", duration) == pytest.approx(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "duration",
    [
        *("", " ", "7", "7 days", "d", "1x", "1h30", "-5m", "1h;", "h1", "1..5s", "nan", "٣"),
        *(None, True, False, [], {}, b"7d", 1j, datetime(2030, 1, 1, tzinfo=timezone.utc)),
        *(float("nan"), float("inf"), 1e300, 10**400, timedelta.max, "99999999999w"),
        *(float("-inf"), "9" * 400 + "d"),
    ],
)
def test_what_is_no_duration_is_an_error_that_names_the_step(duration: object) -> None:
    with pytest.raises(StepError, match="step 'nap' cannot wait") as caught:
        seconds("nap", duration)  # type: ignore[arg-type]

    assert caught.value.step == "nap"
    assert read(duration) is None


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=3_000)))
def test_text_and_timedelta_say_the_same(duration: timedelta) -> None:
    text = f"{duration.days}d{duration.seconds}s{duration.microseconds // 1_000}ms"

    assert seconds("nap", text) == pytest.approx(duration.total_seconds(), abs=0.001)


def test_a_moment_needs_a_time_zone() -> None:
    with pytest.raises(StepError, match=r"step 'opening' .* datetime with a time zone"):
        moment("opening", datetime(2030, 1, 1), 0.0)

    assert not is_moment(datetime(2030, 1, 1))
    assert is_moment(datetime(2030, 1, 1, tzinfo=timezone.utc))


@pytest.mark.parametrize("at", [None, 1_900_000_000, "2030-01-01T00:00:00Z"])
def test_a_moment_is_a_datetime(at: object) -> None:
    with pytest.raises(StepError, match="step 'opening' cannot wait until"):
        moment("opening", at, 0.0)  # type: ignore[arg-type]


def test_a_moment_is_the_same_in_each_time_zone() -> None:
    at = datetime(2030, 7, 1, 12, tzinfo=timezone.utc)

    tokyo = at.astimezone(ZoneInfo("Asia/Tokyo"))
    assert moment("opening", at, 0.0) == moment("opening", tokyo, 0.0) == at.timestamp()


def test_a_moment_is_within_a_hundred_years() -> None:
    now = datetime(2030, 1, 1, tzinfo=timezone.utc)

    with pytest.raises(StepError, match=r"step 'opening' .* the next 100 years"):
        moment("opening", now.replace(year=2131), now.timestamp())


def test_a_moment_is_shown_as_iso_in_utc() -> None:
    assert shown(1_893_456_000.25) == "2030-01-01T00:00:00.250+00:00"


@pytest.mark.parametrize("zone", [timezone.utc, timezone(-timedelta(hours=12))])
def test_the_last_moment_of_all_is_too_far_away(zone: timezone) -> None:
    with pytest.raises(StepError, match=r"step 'opening' cannot wait until .* next 100 years"):
        moment("opening", datetime.max.replace(tzinfo=zone), 1_900_000_000.0)


def test_a_moment_may_be_long_ago() -> None:
    assert moment("opening", datetime(1, 1, 1, tzinfo=timezone.utc), 0.0) < 0
