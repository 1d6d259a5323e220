"""What the history of a run is told that a limit holds back, or drops."""

from __future__ import annotations

from typing import Any

import pytest

from celery_defer.flow import Drop, Later, Reason
from celery_defer.ids import RunId
from celery_defer.run import (
    told_batched,
    told_dropped,
    told_held,
    told_of,
    told_replaced,
    why_dropped,
)
from celery_defer.settings import Settings
from celery_defer.store import History, RunState

BY = RunId("5b7c")


def told(line: bytes) -> dict[str, Any]:
    found = told_of(History(RunId("1"), RunState.HELD, told=line))
    assert found.pop("c") == []
    return found


def test_a_held_run_tells_its_limit_with_the_key_and_since_when() -> None:
    line = told_held(Settings(), Later("concurrency", "7"), 12.5)

    assert told(line) == {"w": {"kind": "limit", "limit": "concurrency", "key": "7", "since": 12.5}}


@pytest.mark.parametrize("payloads", [False, lambda task, payload: payload])
def test_a_key_is_hidden_where_payloads_are(payloads: Any) -> None:
    settings = Settings(record_payloads=payloads)
    line = told_held(settings, Later("concurrency", '"bob"'), 12.5)

    assert told(line)["w"]["key"] == "***"
    assert "bob" not in why_dropped(settings, Drop(Reason.RATE_LIMIT, "rate_limit", '"bob"'))


def test_nothing_is_told_where_nothing_is_recorded() -> None:
    assert told_held(Settings(record=False), Later("throttle"), 1.0) == b""


def test_the_runs_tell_of_each_other() -> None:
    assert told(told_replaced(BY)) == {"by": "5b7c"}
    assert told(told_batched(BY)) == {"batch": "5b7c"}
    assert told(told_dropped("too many", BY)) == {"reason": "too many", "by": "5b7c"}


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_names_the_limit_the_key_and_the_other_run(reason: Reason) -> None:
    by = None if reason is Reason.RATE_LIMIT else BY

    text = why_dropped(Settings(), Drop(reason, reason.value, "7", by))

    limit = "debounce" if reason is Reason.REPLACED else reason.value.replace("_", " ")
    assert limit in text
    assert "the key 7" in text
    assert by is None or f"run {by}" in text
