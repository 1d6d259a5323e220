"""What is typed into the filters of the Deferred tab."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from celery_defer.store import RunState
from celery_defer.views.flower import filters

NOW = datetime(2026, 8, 31, 12, 0, tzinfo=timezone.utc)


def test_filters_become_the_arguments_of_the_read_api() -> None:
    typed = {"state": "failed", "task": " shop.mail ", "tag": "order=a=7", "parent": ""}

    read = filters.read({**typed, "since": "1h30m"}, NOW)

    assert read.problem is None
    assert read.arguments == {
        "state": RunState.FAILED,
        "task": "shop.mail",
        "tag": ("order", "a=7"),
        "since": NOW - timedelta(minutes=90),
    }


@pytest.mark.parametrize("text", ["2026-08-30", "2026-08-30T00:00:00+00:00"])
def test_since_may_be_a_time(text: str) -> None:
    read = filters.read({"since": text}, NOW)

    assert read.arguments == {"since": datetime(2026, 8, 30, tzinfo=timezone.utc)}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("since", "a while ago"),
        ("state", "lost"),
        ("state", "unknown"),
        ("tag", "order"),
        ("tag", "=7"),
    ],
)
def test_what_cannot_be_read_is_said(name: str, text: str) -> None:
    read = filters.read({name: text, "task": "shop.mail"}, NOW)

    assert read.problem
    assert text in read.problem
    assert read.arguments == {}
    assert read.get(name) == text


def test_a_page_keeps_the_filters_in_its_address() -> None:
    read = filters.read({"tag": "order=7&8", "task": ""}, NOW)

    assert read.query(cursor="1-2") == "tag=order%3D7%268&cursor=1-2"
