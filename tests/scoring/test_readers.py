"""``scores``: how what was written is read."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st

from celery_defer import OptionError, RunId, StoreError, score, scores
from celery_defer.store import Carried, Fact, RunState, ScoreRow
from tests.support.inside import WatchedStore

P, CHILD = RunId("assigned"), RunId("child")
CARRIED: Carried = {"flow": ("b", P)}
KEEP = 600.0

pytestmark = pytest.mark.usefixtures("app")


def write(store: Any, run: str, value: float, task: str = "reply", **options: Any) -> None:
    row = ScoreRow(RunId(run), options.pop("name", "tone"), value, options.pop("step", None))
    store.score([row], [""], task, KEEP, **{"is_known": True, **options})


def values(rows: Any) -> list[tuple[object, ...]]:
    return [(row.run, row.step, row.name, row.value) for row in rows]


def test_the_last_score_of_each_name_and_step_is_read(store: WatchedStore) -> None:
    for value in (1, 2):
        write(store, "run", value)
        write(store, "run", value * 10, step="draft")
    write(store, "run", 5, name="length")

    assert values(scores.of_run("run")) == [
        ("run", None, "tone", 2),
        ("run", "draft", "tone", 20),
        ("run", None, "length", 5),
    ]
    assert [row.value for row in scores.of_run("run", history=True)] == [1, 10, 2, 20, 5]
    assert scores.of_run("unknown") == []


def test_the_scores_of_a_task_are_read_from_all_its_runs(store: WatchedStore) -> None:
    for number in range(450):
        write(store, f"run-{number}", number)
    write(store, "other", 1, task="other")
    write(store, "run-3", 1_000)

    read = list(scores.of_task("reply"))
    assert [row.value for row in read[:3]] == [1_000, 449, 448]
    assert len(read) == 450
    assert len(list(scores.of_task("reply", history=True))) == 451
    assert list(scores.of_task("unknown")) == []


def test_a_score_says_when_it_was_written_as_readers_take_it(store: WatchedStore) -> None:
    before = datetime.now(timezone.utc) - timedelta(minutes=1)
    store.score([ScoreRow(RunId("timed"), "tone", 1.0)], [""], "task", 600.0, is_known=True)

    [row] = scores.of_run("timed")

    assert before < row.written_at < before + timedelta(minutes=2)
    assert row.written_at.utcoffset() == timedelta(0)
    assert row in scores.of_task("task", since=row.written_at)


@given(st.floats(1, 4e9))
def test_no_score_is_later_than_itself(at: float) -> None:
    written = ScoreRow(RunId("timed"), "tone", 1, at=at).written_at.timestamp()

    assert at - 2e-6 <= written <= at


def test_the_scores_of_a_task_are_read_since_a_time(store: WatchedStore) -> None:
    write(store, "run", 1)
    now = datetime.now(timezone.utc)

    assert values(scores.of_task("reply", since=now - timedelta(hours=1)))
    assert not values(scores.of_task("reply", since=now + timedelta(hours=1)))


@pytest.mark.parametrize("since", [datetime(2026, 1, 1), 7, "7d"])
def test_a_time_has_a_time_zone(store: WatchedStore, since: Any) -> None:
    with pytest.raises(OptionError, match="has no time zone: give a datetime such as"):
        scores.of_task("reply", since=since)


def test_the_scores_of_an_experiment_are_those_that_count(store: WatchedStore) -> None:
    store.assign(P, "flow", "b", KEEP, KEEP)
    store.assign(RunId("other"), "flow", "a", KEEP, KEEP)
    write(store, P, 1)
    write(store, P, 2)
    write(store, CHILD, 3, carried=CARRIED)
    write(store, "other", 4)
    write(store, "nobody", 5)

    found = sorted(values(scores.of_experiment("flow")))
    assert found == [
        (P, None, "tone", 2), (CHILD, None, "tone", 3), ("other", None, "tone", 4),
    ]  # fmt: skip
    assert values(scores.of_experiment("flow", variant="a")) == [("other", None, "tone", 4)]
    history = scores.of_experiment("flow", variant="b", history=True)
    assert sorted(row.value for row in history) == [1, 2, 3]
    assert list(scores.of_experiment("flow", variant="unknown")) == []


def test_orphans_are_scores_of_runs_that_nobody_knows(store: WatchedStore) -> None:
    write(store, "known", 1)
    score("thumb", True, run_id="nobody")

    assert values(scores.orphans()) == [("nobody", None, "thumb", True)]


def test_a_run_that_is_known_by_now_has_orphans_of_unknown_steps_only(store: WatchedStore) -> None:
    score("early", 1, run_id=P)
    score("tone", 2, run_id=P, step="no such step")
    assert len(values(scores.orphans())) == 2

    store.note([Fact(RunId(P), "reply", RunState.RUNNING, KEEP, b"{}", attempt=1)])

    assert values(scores.orphans()) == [(P, "no such step", "tone", 2)]


def test_without_a_store_there_is_nothing_to_read(app: Celery) -> None:
    for read in (scores.of_run, scores.of_task, scores.of_experiment):
        with pytest.raises(StoreError, match="set defer_store_url"):
            read("run")


def test_a_store_that_is_away_is_an_error(store: WatchedStore) -> None:
    store.away = {"scores_of", "scored", "orphans", "assigned"}
    for read in (
        lambda: scores.of_run("run"),
        lambda: list(scores.of_task("reply")),
        lambda: list(scores.of_experiment("flow")),
        lambda: list(scores.orphans()),
    ):
        with pytest.raises(StoreError, match=r"the scores cannot be read \(ConnectionError"):
            read()
