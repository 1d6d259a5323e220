"""``celery defer limits``, and what the other commands print of held runs."""

from __future__ import annotations

import json
import re
from textwrap import dedent
from typing import Any

import pytest
from celery import Celery

from celery_defer import Concurrency, Throttle, deferred
from celery_defer.ids import RunId
from celery_defer.run import told_batched, told_replaced
from celery_defer.store import Fact, MemoryStore, RunState
from tests.support.held import KEEP, SYNC, arrive, place
from tests.views.cli.conftest import Cli


@pytest.fixture
def store(app: Celery) -> MemoryStore:
    """A store in which customer 7 has one run in progress, and two in line."""
    app._celery_defer.store = store = MemoryStore()
    for run in ("first", "second", "third"):
        arrive(store, run, place())
    return store


@pytest.fixture(autouse=True)
def sync(app: Celery, store: MemoryStore) -> Any:
    @deferred(
        app, name=SYNC, concurrency=Concurrency(1, key="customer"), throttle=Throttle(100, "1h")
    )
    def sync(customer: int) -> None: ...

    @deferred(app, name="shop.plain")
    def plain() -> None: ...

    return sync


def lines(output: str) -> list[str]:
    """Return the lines of what was printed, without times, with gaps of one width."""
    text = re.sub(r"\d+ (ms|s) ago|now|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "…", output)
    return [re.sub(r" {2,}", "  ", line).strip() for line in text.splitlines()]


def printed(text: str) -> list[str]:
    return dedent(text).strip().splitlines()


def test_limits_shows_what_is_in_force_and_in_use(cli: Cli) -> None:
    cli("limits", "set", SYNC, "throttle", "--limit", "50", "--burst", "2")

    assert lines(cli("limits").output) == printed(
        """
        task  limit  in force  changed  running  lines  held
        shop.sync  throttle  50 in 1 h, 2 at once  burst, limit  0  0  2
        shop.sync  concurrency  1 at a time  -  1  1
        """
    )


def test_a_paused_task_says_so_first(cli: Cli) -> None:
    assert cli("limits", "pause", SYNC).output == (
        "shop.sync is paused: `limits resume` lets it go on\n"
    )

    assert "shop.sync  pause  paused  -  -  -  2" in lines(cli("limits", "--task", SYNC).output)

    assert cli("limits", "resume", SYNC).output == "shop.sync goes on\n"
    assert "paused" not in cli("limits").output


def test_limits_as_json_has_the_numbers(cli: Cli) -> None:
    cli("limits", "set", SYNC, "concurrency", "--limit", "3")

    (row,) = json.loads(cli("limits", "--json").output)["rows"]

    assert (row["task"], row["is_paused"], row["held"]) == (SYNC, False, 2)
    assert {
        "name": "concurrency", "limit": 3, "period": 0.0, "burst": 1,
        "override": {"limit": 3}, "running": 1, "lines": 1,
    } in row["limits"]  # fmt: skip


def test_unset_ends_what_was_changed(cli: Cli) -> None:
    cli("limits", "set", SYNC, "throttle", "--period", "1m")
    assert "100 in 1 min" in cli("limits").output

    result = cli("limits", "unset", SYNC, "throttle")

    assert result.output == "throttle of shop.sync is as in the code\n"
    assert "100 in 1 h" in cli("limits").output


def test_an_action_as_json_says_what_it_did(cli: Cli) -> None:
    def done(*args: str) -> Any:
        return json.loads(cli("limits", *args, "--json").output)

    changed = {"task": SYNC, "limit": "concurrency"}
    assert done("pause", SYNC) == {"paused": SYNC}
    assert done("resume", SYNC) == {"resumed": SYNC}
    assert done("set", SYNC, "concurrency", "--limit", "2") == changed
    assert done("unset", SYNC, "concurrency") == changed


def test_without_limits_that_is_said(cli: Cli) -> None:
    assert cli("limits", "--task", "shop.plain").output == "task shop.plain has no limits\n"


WRONG = [
    (["pause", "shop.plain"], "task shop.plain has no limits"),
    (["resume", "nobody"], "this app has no task 'nobody'"),
    (["--task", "nobody"], "this app has no task 'nobody'"),
    (["set", SYNC, "throttle"], "give --limit, --period or --burst"),
    (["set", SYNC, "debounce", "--period", "3s"], "it has throttle, concurrency"),
    (["set", SYNC, "throttle", "--limit", "0"], "give a whole number above zero, at most 2**31"),
    (["set", SYNC, "throttle", "--period", "soon"], "'soon' is no duration"),
    (["unset", SYNC, "debounce"], "has no limit 'debounce'"),
]


@pytest.mark.parametrize(("command", "text"), WRONG, ids=lambda each: " ".join(each)[:40])
def test_what_cannot_be_done_is_said_in_a_line(cli: Cli, command: list[str], text: str) -> None:
    result = cli("limits", *command)

    assert result.exit_code == 2
    assert text in result.output
    assert result.output.count("\n") == 1


# -- the other commands ----------------------------------------------------------------------


def test_waiting_has_the_place_in_line(cli: Cli) -> None:
    assert lines(cli("waiting", "--kind", "limit").output) == printed(
        """
        run  task  step  waits for  since  until
        third  shop.sync  -  its concurrency, key 7, place 2 in line  …  -
        second  shop.sync  -  its concurrency, key 7, place 1 in line  …  -
        """
    )


def test_runs_has_a_column_for_what_holds_runs_back(cli: Cli, store: MemoryStore) -> None:
    assert "held or replaced by" not in cli("runs", "--state", "running").output

    store.note(
        [
            Fact(
                RunId("old"),
                SYNC,
                RunState.REPLACED,
                KEEP,
                b'{"t":"x"}',
                told_replaced(RunId("new")),
            )
        ]
    )
    rows = lines(cli("runs").output)

    assert "held or replaced by" in rows[0]
    assert any(row.startswith("third") and "its concurrency, key 7, place 2" in row for row in rows)
    assert any(row.startswith("old") and "run new" in row for row in rows)


def test_show_of_a_batch_has_its_calls(cli: Cli, store: MemoryStore) -> None:
    about = b'{"t":"x","d":"visit","p":"parent","a":[[[{"page":1}]],{}]}'
    many = Fact(RunId("many"), SYNC, RunState.RUNNING, KEEP, b'{"t":"x","m":["one"]}')
    one = Fact(RunId("one"), SYNC, RunState.BATCHED, KEEP, about, told_batched(RunId("many")))
    store.note([many, one])

    assert lines(cli("show", "many").output)[-3:] == [
        "calls of the batch",
        "defer id  run  parent  payload",
        'visit  one  parent  {"page":1}',
    ]
    assert "batch  many" in lines(cli("show", "one").output)


def test_show_and_tree_say_where_a_run_stands(cli: Cli) -> None:
    shown = lines(cli("show", "third").output)

    assert "waits for  its concurrency, key 7, place 2 in line, since … (…)" in shown
    assert "waits for its concurrency, key 7, place 2 in line" in cli("tree", "third").output
