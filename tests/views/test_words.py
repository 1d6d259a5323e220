"""Values as people read them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from celery_defer.ids import RunId
from celery_defer.store import RunState
from celery_defer.views import words
from celery_defer.views.rows import RunRow, WaitRow

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0 ms"),
        (0.0042, "4 ms"),
        (1, "1 s"),
        (12.34, "12.3 s"),
        (59.96, "1 min"),
        (65, "1 min 5 s"),
        (3_600, "1 h"),
        (7_380, "2 h 3 min"),
        (86_400 * 7 - 3_600, "6 d 23 h"),
        (86_400 * 7 - 1, "7 d"),
        (86_399, "1 d"),
        (3_599.6, "1 h"),
        (-65, "-1 min 5 s"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


def test_a_time_is_shown_in_utc() -> None:
    there = timezone(timedelta(hours=2))

    assert words.moment(datetime(2026, 11, 20, 14, 0, 5, tzinfo=there)) == "2026-11-20 12:00:05 UTC"
    assert words.moment(None) == "-"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "now"), (-5, "5 s ago"), (-7_380, "2 h 3 min ago"), (90, "in 1 min 30 s"),
        (7 * 86_400 - 3_600, "in 6 d 23 h"), (7 * 86_400 - 2, "in 7 d"),
    ],
)  # fmt: skip
def test_a_time_is_shown_from_now(seconds: float, text: str) -> None:
    assert words.ago(NOW + timedelta(seconds=seconds), NOW) == text


def test_a_payload_is_json_on_one_line() -> None:
    assert words.payload({"order_id": 7, "name": "ä\n"}) == '{"order_id":7,"name":"ä\\n"}'
    assert words.payload({"name": "x" * 99}, width=12) == '{"name":"xx…'
    assert words.payload(None) == "-"


def test_a_text_of_a_user_cannot_move_the_cursor() -> None:
    assert words.line("a\x1b[2Jb\nc") == "a [2Jb c"
    assert words.pairs({"order": "7\x1b"}) == "order=7 "


def test_pairs_are_shown_with_their_values_as_json() -> None:
    assert words.pairs({"order": "7", "user.id": 3}) == "order=7, user.id=3"


def test_a_noun_is_in_the_plural_unless_there_is_one() -> None:
    assert [words.plural(count, "run") for count in (0, 1, 2_000)] == [
        "0 runs",
        "1 run",
        "2,000 runs",
    ]


RUN = RunRow(RunId("run"), "shop.ask", RunState.WAITING)
LATER = NOW + timedelta(days=6, hours=23)


@pytest.mark.parametrize(
    ("wait", "text"),
    [
        (WaitRow(RUN, "a", "event", NOW, LATER, "paid", {"id": 7}), "event paid, 6 d 23 h left"),
        (WaitRow(RUN, "a", "sleep", NOW, LATER), "a time, 6 d 23 h left"),
        (WaitRow(RUN, "a", "retry", NOW, NOW), "the next try of its step, due now"),
        (WaitRow(RUN, "a", "run", NOW, child=RunId("child")), "run child"),
    ],
)  # fmt: skip
def test_a_wait_in_short(wait: WaitRow, text: str) -> None:
    assert words.waits(wait, NOW) == f"waits for {text}"


def test_who_does_not_wait_has_no_wait() -> None:
    assert words.waits(None, NOW) == ""
