"""What the outbox keeps of a parked run, and what of it goes without saying."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from celery_defer.errors import RecordError
from celery_defer.ids import RunId
from celery_defer.model import HEADER
from celery_defer.outbox import ParkedRun, parked

DAY = datetime(2030, 1, 1, tzinfo=timezone.utc)
RUN = ParkedRun(RunId("run"), "shop.bill", turn=1, options={"root_id": "run"})
SOME_ID = "312c281e-37f4-4ec0-8419-f3d682ab0815"
OWN = {"id": "bill", "parent": "shop.sell", "at": 1.5, "depth": 1}


def comes_back(run: ParkedRun) -> ParkedRun:
    return parked.unpack(run.id, parked.pack(run))


@pytest.mark.parametrize(
    "run",
    [
        RUN,
        replace(RUN, args=[1, {"a": None}], kwargs={"at": DAY}),
        replace(RUN, child=("child", "shop.invoice"), hostname="celery@host"),
        replace(RUN, options={"queue": "slow", "priority": 0, "root_id": "r", "parent_id": "p"}),
        replace(RUN, args=[SOME_ID, SOME_ID.upper(), f"{SOME_ID}.", '\0"', SOME_ID]),
        replace(
            RUN, options={"root_id": "r", "retries": 2, "ignore_result": True, "time_limit": 1}
        ),
        replace(RUN, headers={"trace": "x", HEADER: {**OWN, "when": "now", "experiment": "e"}}),
        replace(RUN, headers={HEADER: "none of ours"}),
    ],
    ids=["plain", "arguments", "child", "options", "ids", "not usual", "headers", "foreign"],
)  # fmt: skip
def test_a_parked_run_comes_back_equal(run: ParkedRun) -> None:
    assert comes_back(run) == run


def test_options_that_celery_would_use_anyway_are_left_out() -> None:
    usual = {"retries": 0, "ignore_result": False, "replaced_task_nesting": 0}

    assert parked.pack(replace(RUN, options=usual)) == parked.pack(RUN)


def test_a_root_that_is_the_parent_is_written_once_and_comes_back() -> None:
    run = replace(RUN, options={"root_id": "the-parent", "parent_id": "the-parent"})
    apart = replace(RUN, options={"root_id": "the-root-of", "parent_id": "the-parent"})

    assert len(parked.pack(run)) < len(parked.pack(apart))
    assert comes_back(run) == run


def test_the_header_of_a_deferred_run_comes_back_but_for_its_token() -> None:
    header: dict[str, Any] = {**OWN, "when": "success", "experiment": None}
    run = replace(RUN, headers={HEADER: {**header, "token": "first"}})

    assert b"experiment" not in parked.pack(run)
    assert comes_back(run).headers == {HEADER: header}


def test_a_record_with_a_value_that_its_type_refuses_is_refused() -> None:
    odd = {"__type__": "decimal", "__value__": "oops"}

    with pytest.raises(RecordError, match="cannot be read"):
        comes_back(replace(RUN, headers={"x": odd}))


def test_a_record_that_nobody_has_packed_is_refused() -> None:
    with pytest.raises(RecordError, match="cannot be read"):
        parked.unpack(RunId("run"), b'{"task":"shop.bill"')
