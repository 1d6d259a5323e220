"""What people see of runs that limits hold back, drop, replace or put into a batch."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from celery import Celery
from pydantic_core import to_json

from celery_defer.flow import Gate, Kind
from celery_defer.ids import RunId, run_id
from celery_defer.run import told_batched, told_dropped, told_replaced
from celery_defer.store import Fact, MemoryStore, RunState, Store
from celery_defer.views import record, runs, tree, waiting
from celery_defer.views.rows import LineRow, RunRow
from tests.support.held import KEEP, SYNC, arrive, place


@pytest.fixture
def line(each_store: Store) -> Store:
    """A store in which a run has the place of customer 7, and two others wait for it."""
    assert arrive(each_store, "first", place()) is None
    assert arrive(each_store, "second", place())
    assert arrive(each_store, "third", place())
    return each_store


def stands(row: RunRow) -> tuple[str, str, int]:
    assert row.held is not None
    return row.held.limit, row.held.key, row.held.place


def test_the_record_of_a_held_run_says_where_it_stands_and_since_when(line: Store) -> None:
    found = record("third")

    assert found.run.state is RunState.HELD
    assert stands(found.run) == ("concurrency", "7", 2)
    assert found.waits_for is not None
    assert (found.waits_for.kind, found.waits_for.step) == ("limit", "")
    since = found.waits_for.since
    assert since is not None
    assert abs((datetime.now(timezone.utc) - since).total_seconds()) < 60


def test_a_run_in_progress_is_not_held(line: Store) -> None:
    found = record("first")

    assert (found.run.state, found.run.held) == (RunState.RUNNING, None)
    assert found.waits_for is None


def test_a_list_has_the_place_of_each_held_run(line: Store) -> None:
    rows = runs(state="held").rows

    assert [(row.id, *stands(row)) for row in rows] == [
        ("third", "concurrency", "7", 2),
        ("second", "concurrency", "7", 1),
    ]


def test_the_tree_has_what_a_held_run_waits_for(each_store: Store) -> None:
    parent = RunId("parent")
    calls = [run_id(parent, name) for name in ("one", "two")]
    told = to_json({"c": ["one", "two"]})
    done = Fact(parent, "shop.order", RunState.SUCCEEDED, KEEP, b'{"t":"shop.order"}', told)
    each_store.note([done])
    for name, id in zip(("one", "two"), calls, strict=True):
        arrive(each_store, id, place(), about={"d": name, "p": parent})

    one, two = tree(parent).children

    assert one.waits_for is None
    assert two.waits_for is not None
    assert stands(two.waits_for.run) == ("concurrency", "7", 1)
    assert [row.held is None for row in record(parent).defers] == [True, False]


def test_held_runs_are_listed_as_waiting_and_can_be_asked_for_alone(line: Store) -> None:
    wait = {"step": "nap", "kind": "sleep", "since": 1.0, "until": 4e9}
    parked = Fact(RunId("parked"), "nap", RunState.WAITING, KEEP, b"{}", to_json({"w": wait}))
    line.note([parked])

    def listed(**chosen: Any) -> set[str]:
        return {row.run.id for row in waiting(**chosen).rows}

    assert listed() == {"second", "third", "parked"}
    assert listed(kind="limit") == {"second", "third"}
    assert listed(kind="sleep") == {"parked"}
    assert listed(kind="limit", task="nap") == set()
    assert listed(event="paid") == set()


def test_a_paused_task_is_what_its_runs_wait_for(each_store: Store) -> None:
    each_store.pause(SYNC, is_paused=True)
    arrive(each_store, "run", place())

    assert stands(record("run").run)[0] == "pause"


def test_a_debounced_run_is_held_by_its_debounce(each_store: Store) -> None:
    arrive(each_store, "run", Gate(Kind.DEBOUNCE, "debounce", '"p1"', period=30.0))

    assert stands(record("run").run)[:2] == ("debounce", '"p1"')


def test_a_run_that_has_been_let_through_shows_what_held_it(line: Store) -> None:
    told = to_json({"w": {"kind": "limit", "limit": "throttle", "key": "7", "since": 2.0}})
    line.note([Fact(RunId("gone"), SYNC, RunState.HELD, KEEP, b'{"t":"shop.sync"}', told)])

    since = datetime.fromtimestamp(2.0, timezone.utc)
    assert record("gone").run.held == LineRow("throttle", "7", 0, since)


def test_a_held_run_of_which_nobody_knows_more_is_still_shown(line: Store) -> None:
    line.note([Fact(RunId("gone"), SYNC, RunState.HELD, KEEP, b'{"t":"shop.sync"}')])

    found = record("gone")

    assert (found.run.state, found.run.held) == (RunState.HELD, None)
    assert found.waits_for is not None


def test_keys_are_hidden_where_payloads_are(app: Celery, line: Store) -> None:
    app.conf.defer_record_payloads = False

    assert stands(record("second").run) == ("concurrency", "***", 1)


def test_a_page_asks_once_for_all_lines(app: Celery) -> None:
    class Counting(MemoryStore):
        asked = 0

        def in_line(self, runs: Any) -> Any:
            self.asked += 1
            return super().in_line(runs)

    app._celery_defer.store = store = Counting()
    for n in range(9):
        arrive(store, f"run-{n}", place())

    assert len(runs(limit=5).rows) == 5
    assert store.asked == 1
    assert record("run-0").run.held is None
    assert store.asked == 1


# -- those that never start -----------------------------------------------------------------


def ended(store: Store, state: RunState, told: bytes) -> RunRow:
    store.note([Fact(RunId("run"), SYNC, state, KEEP, b'{"t":"shop.sync"}', told)])
    return record("run").run


def test_a_replaced_run_names_the_later_one(each_store: Store) -> None:
    row = ended(each_store, RunState.REPLACED, told_replaced(RunId("later")))

    assert row.by == "later"
    assert row.reason == "a later call runs in its place: run later"


def test_a_dropped_run_has_the_reason_and_the_run_because_of_which(each_store: Store) -> None:
    row = ended(
        each_store, RunState.SKIPPED, told_dropped("its singleton has not ended", RunId("old"))
    )

    assert (row.by, row.reason) == ("old", "its singleton has not ended")


def test_the_run_of_a_batch_has_its_calls_in_their_order(each_store: Store) -> None:
    calls = ["b", "a", "c"]
    many = Fact(RunId("many"), SYNC, RunState.RUNNING, KEEP, to_json({"t": SYNC, "m": calls}))
    each_store.note([many])
    for id in calls:
        about = to_json({"t": SYNC, "d": f"call-{id}", "p": "parent", "a": [[[{"n": 1}]], {}]})
        told = told_batched(RunId("many"))
        each_store.note([Fact(RunId(id), SYNC, RunState.BATCHED, KEEP, about, told)])

    found = record("many")

    assert [(call.id, call.defer_id, call.parent) for call in found.calls] == [
        ("b", "call-b", "parent"), ("a", "call-a", "parent"), ("c", "call-c", "parent"),
    ]  # fmt: skip
    assert [call.payload for call in found.calls] == [{"n": 1}] * 3
    assert record("many", most=2).calls == found.calls[:2]
    assert record("a").calls == []


def test_a_call_in_a_batch_names_the_run_of_the_batch(each_store: Store) -> None:
    row = ended(each_store, RunState.BATCHED, told_batched(RunId("many")))

    assert row.batch == "many"
    assert row.reason == "it runs in the batch of run many"
