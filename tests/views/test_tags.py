"""Tags of a run, as its record and the lists show them."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import TagError, defer, deferred, set_tags, step
from celery_defer.testing import Simulation
from celery_defer.views import record, runs
from tests.support.inside import parent_of


@pytest.fixture
def waiting(app: Celery) -> Any:
    """A deferred task that waits, and sets a tag before and after it."""

    @deferred
    @app.task(name="waiting")
    def waiting() -> None:
        set_tags({"before": "1"})
        step.run("one", lambda: set_tags({"in-step": "1"}))
        step.sleep("nap", 60)
        set_tags({"after": "1"})
        defer("below", inner)

    @deferred
    @app.task(name="inner")
    def inner() -> None:
        pass

    return waiting


def tags_of(run: str) -> dict[str, dict[str, str]]:
    found = record(run)
    return {
        "own": dict(found.run.tags),
        **{str(row.defer_id): dict(row.tags) for row in found.defers},
    }


def test_tags_are_handed_down_and_one_call_may_replace_or_drop_some(
    app: Celery, sim: Simulation, ship: Any
) -> None:
    def body() -> None:
        defer("early", ship, n=1)
        set_tags({"order": "7", "shop": "x"})
        defer("all", ship, n=1)
        defer("other", ship.with_options(tags={"order": "8"}), n=1)
        defer("fewer", ship.with_options(tags={"order": None}), n=1)
        set_tags({"shop": None})
        defer("late", ship, n=1)

    parent = sim.run(parent_of(app, body))
    sim.drain()

    assert tags_of(parent.id) == {
        "own": {"order": "7"},
        "early": {},
        "all": {"order": "7", "shop": "x"},
        "other": {"order": "8", "shop": "x"},
        "fewer": {"shop": "x"},
        "late": {"order": "7"},
    }


def test_a_run_that_waits_keeps_its_tags_and_those_of_its_parent(
    app: Celery, sim: Simulation, waiting: Any
) -> None:
    def body() -> None:
        set_tags({"order": "7"})
        defer("waits", waiting)

    parent = sim.run(parent_of(app, body))
    sim.drain()
    [child] = record(parent.id).defers
    parked = tags_of(child.id)["own"]
    sim.advance("1h")

    assert parked == {"order": "7", "before": "1", "in-step": "1"}
    [below] = record(child.id).defers
    assert below.tags == {"order": "7", "before": "1", "in-step": "1", "after": "1"}
    assert record(child.id).run.tags == below.tags


def test_a_run_without_deferred_calls_is_found_by_its_tag_when_it_waits(
    app: Celery, sim: Simulation
) -> None:
    def body() -> None:
        set_tags({"order": "7"})
        step.sleep("nap", 60)

    parent = sim.run(parent_of(app, body))

    assert [row.id for row in runs(tag=("order", "7")).rows] == [parent.id]
    sim.advance("1h")
    assert [(row.id, row.tags) for row in runs(tag=("order", "7")).rows] == [
        (parent.id, {"order": "7"})
    ]


def test_runs_are_found_by_a_tag(app: Celery, sim: Simulation, ship: Any) -> None:
    def body() -> None:
        set_tags({"order": "7"})
        defer("mine", ship, n=1)
        defer("other", ship.with_options(tags={"order": "8"}), n=1)

    parent = sim.run(parent_of(app, body))
    sim.drain()

    found = runs(tag=("order", "7")).rows
    assert {row.defer_id for row in found} == {None, "mine"}
    assert [row.defer_id for row in runs(tag=("order", "8")).rows] == ["other"]
    assert [row.defer_id for row in runs(tag=("order", "7"), task="ship").rows] == ["mine"]
    assert [row.defer_id for row in runs(tag=("order", "7"), parent=parent.id).rows] == ["mine"]
    assert runs(tag=("order", "9")).rows == []


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ({"a=b": "1"}, "tag 'a=b': it has a '='; a key is text of 1 to 128 bytes, without ="),
        ({"": "1"}, "tag '': it is empty; a key is text of"),
        ({7: "1"}, "tag 7: it is of type int; a key is text of"),
        ({"a": ""}, "tag 'a': its value '' is refused: it is empty; give text of 1 to 128 bytes"),
        ({"a": 1}, "tag 'a': its value 1 is refused: it is of type int; give text of 1 to 128"),
        ({"a": "x" * 129}, "is refused: it has 129 bytes; give text"),
        ({"a": "x\n"}, "is refused: it has a control character; give text"),
        ({f"{n}": "x" for n in range(17)}, "are 17: remove one with None"),
        ("text", "'text' is no mapping: set_tags({'order': '7'})"),
        (["a", "b"], "['a', 'b'] is no mapping: set_tags({'order': '7'})"),
        (None, "None is no mapping"),
    ],
)
def test_a_bad_tag_is_left_out_or_refused(
    app: Celery, sim: Simulation, ship: Any, bad: Any, problem: str, caplog: Any
) -> None:
    def body() -> None:
        set_tags(bad)
        defer("a", ship, n=1)

    tags = tags_of(sim.run(parent_of(app, body)).id)
    assert len(tags["own"]) == len(tags["a"]) == (16 if problem.startswith("are 17") else 0)
    assert problem in caplog.text
    app.conf.defer_strict = True
    del app._celery_defer.settings
    run = sim.run(parent_of(app, body))
    assert isinstance(run.exception, TagError)
    assert problem in str(run.exception)


def test_a_bad_tag_is_logged_in_short(app: Celery, sim: Simulation, caplog: Any) -> None:
    sim.run(parent_of(app, lambda: set_tags({"cart": "x" * 1_000_000})))

    (line,) = [record.getMessage() for record in caplog.records if "tag" in record.getMessage()]
    assert "'cart'" in line
    assert len(line) < 500


def test_tags_over_the_limit_are_logged_in_one_line(
    app: Celery, sim: Simulation, ship: Any, caplog: Any
) -> None:
    def body() -> None:
        set_tags({f"t{n:02}": "1" for n in range(19)})
        defer("a", ship, n=1)

    parent = sim.run(parent_of(app, body))

    (line,) = [record.getMessage() for record in caplog.records if "tags" in record.getMessage()]
    assert "a run has at most 16 tags, and with ['t16', 't17', 't18'] there are 19: remove" in line
    assert len(tags_of(parent.id)["own"]) == 16


def test_a_long_value_is_not_quoted_at_length(app: Celery, sim: Simulation, caplog: Any) -> None:
    sim.run(parent_of(app, lambda: set_tags({"order": "x" * 2_000})))

    assert "x" * 30 in caplog.text
    assert "x" * 50 not in caplog.text
