"""What the commands print of a store in which runs are recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from textwrap import dedent
from typing import Any

import pytest
from celery import Celery
from pydantic_core import to_json

from celery_defer.ids import RunId, run_id
from celery_defer.store import Fact, MemoryStore, Parking, RunState
from tests.views.cli.conftest import Cli

ORDER = RunId("order")
RECEIPT, FEEDBACK = run_id(ORDER, "receipt"), run_id(ORDER, "feedback")
COUPON = run_id(FEEDBACK, "coupon")
KEEP = 600.0


@pytest.fixture
def store(app: Celery) -> MemoryStore:
    """A store with an order, its failed receipt, and its feedback that waits."""
    app._celery_defer.store = store = MemoryStore()
    for fact in _facts():
        store.note([fact])
    return store


def _facts() -> Iterator[Fact]:
    def fact(id: str, task: str, state: RunState, about: Any = None, told: Any = None) -> Fact:
        tags = ("order=7",) if id == ORDER else ()
        texts = [to_json(text) if text else b"" for text in (about, told)]
        return Fact(RunId(id), task, state, KEEP, *texts, 1, 300.0, 299.0, tags)  # type: ignore[arg-type]

    yield fact(
        ORDER, "shop.order", RunState.SUCCEEDED, {"t": "shop.order", "g": {"order": "7"}},
        {"c": ["receipt", "feedback"], "g": {"order": "7"}},
    )  # fmt: skip
    yield fact(
        RECEIPT, "shop.receipt", RunState.FAILED,
        {"t": "shop.receipt", "d": "receipt", "p": ORDER, "a": [[], {"id": 7}], "e": "no route"},
    )  # fmt: skip
    yield fact(
        FEEDBACK, "shop.feedback", RunState.WAITING,
        {"t": "shop.feedback", "d": "feedback", "p": ORDER},
        {"c": ["coupon"], "w": {"step": "answer", "kind": "event", "event": "order/answered",
                                "match": {"order_id": 7}, "since": 1.0, "until": 4e9}},
    )  # fmt: skip
    yield fact(
        COUPON, "shop.coupon", RunState.SKIPPED,
        {"t": "shop.coupon", "d": "coupon", "p": FEEDBACK, "r": ORDER, "e": "too many", "x": "{}"},
    )  # fmt: skip


def steady(output: str) -> str:
    """Return what was printed, without times: they differ from run to run."""
    text = re.sub(r"\d+(\.\d+)? (ms|s|min|h|d)( \d+ \w+)?( ago)?", "…", output)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "…", text)
    return re.sub(r" +(?=\S)", lambda gap: gap[0][:2], text)


def held(text: str) -> str:
    return dedent(text).lstrip("\n")


pytestmark = pytest.mark.usefixtures("store")


def test_tree(cli: Cli) -> None:
    result = cli("tree", ORDER)

    assert result.exit_code == 0
    assert steady(result.output) == held(
        f"""
        shop.order  succeeded  …  order
        ├─ receipt: shop.receipt  failed  …  {RECEIPT}  no route
        └─ feedback: shop.feedback  waiting  {FEEDBACK}  waits for event order/answered, … left
          └─ coupon: shop.coupon  skipped  …  {COUPON}  too many
        """
    )


def test_show(cli: Cli) -> None:
    result = cli("show", FEEDBACK)

    assert result.exit_code == 0
    assert steady(result.output) == held(
        f"""
        run  {FEEDBACK}
        task  shop.feedback
        state  waiting
        waits for  event order/answered (order_id=7), at step 'answer', until … (in …)
        deferred as  feedback of run order (shop.order)
        root  order
        attempts  1
        deferred  … (…)
        started  … (…)

        defers
        defer id  task  state  run  latency  took  reason
        coupon  shop.coupon  skipped  {COUPON}  -  …  too many

        siblings
        defer id  task  state  run  latency  took  reason
        receipt  shop.receipt  failed  {RECEIPT}  -  …  no route
        """
    )


def test_runs(cli: Cli) -> None:
    assert steady(cli("runs").output) == held(
        f"""
        run  task  defer id  state  deferred  took  tags
        {COUPON}  shop.coupon  coupon  skipped  …  …
        {FEEDBACK}  shop.feedback  feedback  waiting  …  -
        {RECEIPT}  shop.receipt  receipt  failed  …  …
        order  shop.order  -  succeeded  …  …  order=7
        """
    )


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (["--state", "failed"], [RECEIPT]),
        (["--task", "shop.order"], [ORDER]),
        (["--tag", "order=7"], [ORDER]),
        (["--parent", ORDER], [FEEDBACK, RECEIPT]),
        (["--since", "1h"], [COUPON, FEEDBACK, RECEIPT, ORDER]),
        (["--since", "2100-01-01"], []),
        (["--task", "shop.order", "--state", "failed"], []),
    ],
)
def test_runs_are_filtered(cli: Cli, filters: list[str], ids: list[str]) -> None:
    printed = json.loads(cli("runs", *filters, "--json").output)

    assert [row["id"] for row in printed["rows"]] == ids


def test_runs_come_in_pages(cli: Cli) -> None:
    first = cli("runs", "--limit", "3").output
    cursor = re.findall(r"^there are more: --cursor (.+)$", first, re.M)[0]

    assert [
        row["id"] for row in json.loads(cli("runs", "--cursor", cursor, "--json").output)["rows"]
    ] == [ORDER]
    assert cli("runs", "--state", "running").output == "no runs\n"


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        (["--since", "yesterday"], "'yesterday' is no time: give 1h, 7d or 2030-01-31T12:00"),
        (["--tag", "order"], "'order' is no tag: give key=value"),
        (["--state", "lost"], "'lost' is not one of"),
    ],
)
def test_a_bad_filter_is_explained(cli: Cli, option: list[str], problem: str) -> None:
    result = cli("runs", *option)

    assert result.exit_code == 2
    assert problem in result.output


def test_json_has_the_fields_of_the_rows(cli: Cli) -> None:
    printed = json.loads(cli("show", RECEIPT, "--json").output)

    assert printed["run"]["state"] == "failed"
    assert printed["run"]["payload"] == {"id": 7}
    assert printed["run"]["finished_at"].endswith("Z")
    assert printed["run"]["duration"] >= 299
    assert [row["defer_id"] for row in printed["siblings"]] == ["feedback"]
    feedback = json.loads(cli("tree", ORDER, "--json").output)["children"][1]
    assert feedback["run"]["id"] == FEEDBACK
    assert feedback["waits_for"]["event"] == "order/answered"


def test_a_run_that_nobody_knows(cli: Cli) -> None:
    for command in ("tree", "show"):
        result = cli(command, "unknown")

        assert result.exit_code == 1
        assert result.output.startswith("Error: nothing is known of run unknown: ")
        assert result.output.count("\n") == 1


# -- waiting ------------------------------------------------------------------------------


def test_waiting(cli: Cli) -> None:
    result = cli("waiting", "--fail-late")

    assert result.exit_code == 0
    assert steady(result.output) == held(
        f"""
        run  task  step  waits for  since  until
        {FEEDBACK}  shop.feedback  answer  event order/answered (order_id=7)  …  in …
        """
    )
    assert cli("waiting", "--event", "order/paid").output == "no run waits\n"


def test_a_wait_that_is_over_fails_if_asked(cli: Cli, store: MemoryStore) -> None:
    wait = {"step": "nap", "kind": "sleep", "since": 1.0, "until": 2.0}
    told = to_json({"w": wait})
    store.note([Fact(RunId("late"), "shop.nap", RunState.WAITING, KEEP, b'{"t":"shop.nap"}', told)])

    assert cli("waiting").exit_code == 0
    assert cli("waiting", "--fail-late").exit_code == 1


# -- outbox, quarantine --------------------------------------------------------------------


def test_outbox(cli: Cli, app: Celery, store: MemoryStore) -> None:
    assert cli("outbox").output == "0 waiting, 0 of them due now, 0 in quarantine\n"

    now = app._celery_defer.clock()
    store.stage(RunId("run"), "token", b"?", now - 60, KEEP)

    assert steady(cli("outbox").output) == held(
        """
        1 waiting, 1 of them due now, 0 in quarantine
        record  kind  task  due  tries  calls
        run  unknown  …  0
        """
    )
    assert cli("outbox", "--fail-older-than", "5m").exit_code == 0
    assert cli("outbox", "--fail-older-than", "30s").exit_code == 1
    assert cli("outbox", "--fail-older-than", "soon").exit_code == 2
    printed = json.loads(cli("outbox", "--json").output)
    assert (printed["depth"]["due"], printed["rows"][0]["id"]) == (1, "run")


def test_outbox_retry_makes_a_record_due(cli: Cli, store: MemoryStore) -> None:
    store.stage(RunId("run"), "token", b"?", 9e9, KEEP)

    assert cli("outbox", "retry", "run").output == "run is due now\n"
    assert (store.next_due() or 9e9) < 9e9
    assert cli("outbox", "retry", "unknown").output == (
        "Error: no record 'unknown' is in the outbox\n"
    )


def test_outbox_retry_is_not_for_a_run_that_waits(cli: Cli, store: MemoryStore) -> None:
    store.park(RunId("run"), Parking(0, "nap", b"[]", "token", b"?", 9e9), 1.0, KEEP)

    result = cli("outbox", "retry", "run")

    assert (result.exit_code, result.output) == (
        1,
        "Error: run run waits: to end its wait, wake it\n",
    )


def test_quarantine(cli: Cli, store: MemoryStore) -> None:
    assert cli("quarantine", "--fail-if-any").output == "nothing is in quarantine\n"

    _quarantine(store, "run")
    result = cli("quarantine")

    assert (result.exit_code, steady(result.output)) == (
        0,
        "record  kind  task  reason\nrun  unknown  it is bad\n",
    )
    assert cli("quarantine", "--fail-if-any").exit_code == 1
    assert json.loads(cli("quarantine", "--json").output)["rows"][0]["reason"] == "it is bad"


def test_quarantine_retry_says_why_not(cli: Cli, store: MemoryStore) -> None:
    _quarantine(store, "run")

    result = cli("quarantine", "retry", "run")

    assert result.exit_code == 1
    assert result.output.startswith("Error: the record cannot be read: ")


def test_quarantine_drop(cli: Cli, store: MemoryStore) -> None:
    _quarantine(store, "run")

    result = cli("quarantine", "drop", "run", "--yes")

    assert (result.exit_code, result.output) == (0, "run is dropped; 0 runs failed with it\n")
    assert store.quarantined() == []


def _quarantine(store: MemoryStore, id: str) -> None:
    store.stage(RunId(id), "token", b"?", 1, KEEP)
    store.quarantine(RunId(id), "token", "it is bad", KEEP)


# -- watch --------------------------------------------------------------------------------


def test_watch_once(cli: Cli) -> None:
    lines = steady(cli("watch", "--once").output).splitlines()

    assert lines[0].endswith(
        " UTC: 1 run failed in the last …; outbox: 0 waiting, 0 of them due now, 0 in quarantine"
    )
    assert lines[2:7] == [
        "task  buffered  running  waiting  failed  skipped  quarantined",
        "shop.coupon  1",
        "shop.feedback  1",
        "shop.receipt  1",
        "all tasks  0  0  1  1  1  0",
    ]
    assert lines[8].startswith("run  task")
    assert len(lines) == 13


def test_watch_prints_json(cli: Cli) -> None:
    printed = json.loads(cli("watch", "--once", "--json").output)

    assert {"state": "failed", "task": "shop.receipt", "runs": 1} in printed["counts"]
    assert (printed["failed_in_interval"], printed["interval_seconds"]) == (1, 2.0)
    assert len(printed["newest"]) == 4


def test_watch_forgets_what_failed_before_the_interval(cli: Cli, store: MemoryStore) -> None:
    store.clock = lambda: 1.0
    store.note([Fact(RunId("old"), "shop.old", RunState.FAILED, 9e9, b'{"t":"shop.old"}')])

    printed = json.loads(cli("watch", "--once", "--json").output)

    assert {"state": "failed", "task": "shop.old", "runs": 1} in printed["counts"]
    assert printed["failed_in_interval"] == 1
