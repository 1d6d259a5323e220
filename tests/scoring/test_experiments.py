"""``compare``: what it reads of the store."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from time import time
from typing import Any

import pytest
from celery import Celery

from celery_defer import (
    ExperimentError,
    OptionError,
    RunId,
    Score,
    StoreError,
    compare,
    defer,
    experiment,
    fixed,
    scorer,
    step,
)
from celery_defer.store import Fact, RunState, ScoreRow
from celery_defer.testing import Simulation
from tests.support.inside import WatchedStore, Worker

KEEP = 600.0

pytestmark = pytest.mark.usefixtures("app")


def assign(store: Any, run: str, variant: str, *, is_open: bool = False) -> None:
    store.assign(RunId(run), "flow", variant, KEEP, KEEP if is_open else 0.0)


def write(store: Any, run: str, value: float, name: str = "tone", step: str | None = None) -> None:
    store.score([ScoreRow(RunId(run), name, value, step)], [""], "reply", KEEP, is_known=True)


def leave_out(store: Any, run: str) -> None:
    taken = (("flow", "a", RunId(run)),)
    fact = Fact(RunId(f"{run}-judge"), "judge", RunState.SKIPPED, KEEP, b"about", experiments=taken)
    store.note([fact])


def test_each_assigned_run_is_counted_once(store: WatchedStore) -> None:
    for run in ("scored", "scored-and-open", "open", "left-out", "open-and-left-out", "missing"):
        assign(store, run, "a", is_open="open" in run)
    for run in ("left-out", "open-and-left-out"):
        leave_out(store, run)
    for run in ("scored", "scored-and-open", "stranger"):
        write(store, run, 1)
    assign(store, "other", "b")

    [first, other] = compare("flow").variants
    assert (first.variant, first.assigned, first.scored) == ("a", 6, 2)
    assert (first.pending, first.not_sampled, first.missing) == (2, 1, 1)
    assert (other.assigned, other.missing) == (1, 1)


def test_several_values_of_a_run_count_as_their_mean(store: WatchedStore) -> None:
    assign(store, "run", "a")
    write(store, "run", 1)
    for id, value in (("one", 2), ("two", 6)):
        write(store, "run", value, step=id)

    [row] = compare("flow").variants
    assert (row.scores["tone"].n, row.scores["tone"].mean) == (1, 3)


def test_an_experiment_without_runs_says_so(store: WatchedStore) -> None:
    assert compare("flow").sentences == ("No run has taken part in experiment 'flow' yet.",)


def test_how_to_compare_is_handed_on(store: WatchedStore) -> None:
    for variant in "abc":
        assign(store, f"run-{variant}", variant)

    def order(**options: Any) -> list[str]:
        return [row.variant for row in compare("flow", **options).variants]

    assert order() == ["a", "b", "c"]
    assert order(baseline="b", order=["c"]) == ["b", "c", "a"]
    with pytest.raises(ExperimentError, match="has no variant 'd' to compare with"):
        compare("flow", baseline="d")


def test_runs_that_were_assigned_earlier_are_left_out(store: WatchedStore) -> None:
    assign(store, "run", "a")
    now = datetime.now(timezone.utc)

    assert len(compare("flow", since=now - timedelta(hours=1)).variants) == 1
    assert compare("flow", since=now + timedelta(hours=1)).variants == ()
    with pytest.raises(OptionError, match="time zone"):
        compare("flow", since=datetime(2026, 1, 1))


def test_without_a_store_nothing_is_compared(app: Celery) -> None:
    with pytest.raises(StoreError, match="set defer_store_url"):
        compare("flow")


def test_a_store_that_is_away_is_an_error(store: WatchedStore) -> None:
    store.away = {"open_runs"}
    with pytest.raises(StoreError, match=r"experiment 'flow' cannot be read \(ConnectionError"):
        compare("flow")


def test_a_run_is_pending_until_its_outcome_has_come(app: Celery, sim: Simulation) -> None:
    @scorer
    @app.task(name="bought", shared=False)
    def bought(order: int) -> Score | None:
        event = step.wait_for_event("bought", "purchase", timeout="7d", match={"order": order})
        return Score("bought", event is not None) if order % 5 else None

    @scorer
    @app.task(name="tone", shared=False)
    def tone() -> Score:
        return Score("tone", 1)

    @app.task(name="order", shared=False)
    def order(number: int) -> None:
        variants = {"a": lambda: defer("bought", bought, order=number), "b": lambda: None}
        if experiment("flow", variants, fixed("a" if number % 2 else "b")).variant == "b":
            defer("tone", tone)

    def standing() -> list[tuple[int, ...]]:
        rows = compare("flow", app=app).variants
        for row in rows:
            kinds = (row.scored, row.pending, row.missing, row.not_sampled)
            assert row.assigned == sum(kinds)
        return [(row.scored, row.pending, row.missing) for row in rows]

    for number in range(40):
        sim.run(order, number)
    assert standing() == [(0, 20, 0), (0, 20, 0)]
    sim.drain()
    assert standing() == [(0, 20, 0), (20, 0, 0)]
    for number in range(10):
        sim.send_event("purchase", {"order": number})
    sim.drain()
    assert standing()[0] == (4, 15, 1)  # the scorer of one has returned nothing
    sim.advance("8d")
    assert standing() == [(16, 0, 4), (20, 0, 0)]
    assert compare("flow", app=app).variants[0].scores["bought"].mean == 4 / 16


@pytest.mark.parametrize("is_moment", [False, True])
def test_a_run_is_pending_while_its_scorer_waits_for_its_countdown(
    app: Celery, worker: Worker, store: WatchedStore, is_moment: bool
) -> None:
    week = timedelta(days=7)
    when: Any = {"eta": datetime.now(timezone.utc) + week} if is_moment else {}
    when = when or {"countdown": week.total_seconds()}

    @scorer
    @app.task(name="judge", shared=False)
    def judge() -> None: ...

    @app.task(name="reply", shared=False)
    def reply() -> None:
        experiment("flow", {"a": lambda: None})
        defer("judge", judge.with_options(**when))

    run = worker.perform(reply)
    seen = []
    for days in (0, 6, 9):
        store._store.clock = lambda days=days: time() + days * 86_400
        seen.append(store.open_runs("flow"))

    assert seen == [{run.id}, {run.id}, set()]


@pytest.mark.parametrize("id", [None, b"x", " ", 7])
def test_what_is_no_id_of_an_experiment_is_refused(app: Celery, id: Any) -> None:
    with pytest.raises(ExperimentError, match="the id of an experiment: "):
        compare(id)
