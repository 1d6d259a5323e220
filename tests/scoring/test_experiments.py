"""``compare``: what it reads of the store."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from celery import Celery

from celery_defer import ExperimentError, OptionError, RunId, StoreError, compare
from celery_defer.store import Fact, RunState, ScoreRow
from tests.support.inside import WatchedStore

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
    for step, value in (("one", 2), ("two", 6)):
        write(store, "run", value, step=step)

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
