"""``score``: which run or step it is of, what it raises, and whom it tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from celery_defer import (
    NoRunError,
    ScoreError,
    ScoreRow,
    StoreError,
    current_run,
    defer,
    deferred,
    deferring,
    experiment,
    run_id,
    score,
    scores,
    signals,
    step,
)
from celery_defer.testing import Simulation
from tests.support.inside import WatchedStore, Worker, parent_of


@pytest.fixture
def heard() -> Iterator[list[dict[str, Any]]]:
    """What ``score_recorded`` has said."""
    heard: list[dict[str, Any]] = []

    def hear(signal: Any, sender: Any, **facts: Any) -> None:
        heard.append({"sender": sender, **facts})

    signals.score_recorded.connect(hear)
    yield heard
    signals.score_recorded.disconnect(hear)


def rows(store: Any, run: str) -> list[ScoreRow]:
    [found] = store.scores_of([run])
    return list(found)


def targets(store: Any, run: str) -> list[tuple[object, ...]]:
    return [(row.step, row.name, row.value) for row in rows(store, run)]


def test_in_a_body_the_run_is_scored_and_in_a_step_the_step(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    def body() -> None:
        score("before", 1)
        step.run("draft", lambda: score("inside", 2))
        score("of-a-step", 3, step="draft")
        step.run("named", lambda: score("of-the-run", 4, run_id=current_run().id))

    run = worker.perform(parent_of(app, body))

    assert targets(store, run.id) == [
        (None, "before", 1),
        ("draft", "inside", 2),
        ("draft", "of-a-step", 3),
        (None, "of-the-run", 4),
    ]
    assert [row.by for row in rows(store, run.id)] == [run.id] * 4
    assert store.orphans(limit=9) == []


def test_another_run_is_scored_by_its_id(app: Celery, worker: Worker, store: WatchedStore) -> None:
    run = worker.perform(parent_of(app, lambda: score("own", 1)))
    other = worker.perform(parent_of(app, lambda: score("thumb", True, run_id=run.id)))
    score("thumb", False, run_id=run.id, step="draft", comment="no", source="customer")

    assert targets(store, other.id) == []
    own, thumb, outside = rows(store, run.id)
    assert (own.by, thumb.by, outside.by) == (run.id, other.id, None)
    assert (outside.step, outside.comment, outside.source) == ("draft", "no", "customer")


def test_a_deferred_run_may_score_its_parent(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    @deferred
    @app.task(name="judge", shared=False)
    def judge() -> None:
        parent = current_run().parent
        assert parent is not None
        score("tone", 0.5, run_id=parent.id)

    @app.task(name="reply", shared=False)
    def reply() -> None:
        defer("judge", judge)

    run = worker.perform(reply)
    worker.drain()

    assert targets(store, run.id) == [(None, "tone", 0.5)]
    assert [place.id for place in store.scored("reply", limit=9)] == [run.id]
    assert store.orphans(limit=9) == []


def test_a_step_that_the_run_does_not_have_makes_an_orphan(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    run = worker.perform(parent_of(app, lambda: score("tone", 1, step="none")))

    assert [place.id for place in store.orphans(limit=9)] == [run.id]


def test_a_body_that_is_replayed_writes_its_score_once(app: Celery, sim: Simulation) -> None:
    def body() -> None:
        score("tone", 1)
        step.sleep("nap", 60)
        score("late", 1)

    run = sim.run(parent_of(app, body))
    sim.advance("2m")

    assert targets(app._celery_defer.store, run.id) == [(None, "tone", 1), (None, "late", 1)]


def test_a_block_is_scored_as_a_run_is(app: Celery, store: WatchedStore) -> None:
    with deferring(app) as parent:
        score("tone", 1)

    assert targets(store, parent.id) == [(None, "tone", 1)]


def test_an_eager_run_writes_no_score_of_itself(app: Celery, store: WatchedStore) -> None:
    parent_of(app, lambda: score("tone", 1)).apply()

    assert "score" not in store.asked


def test_outside_a_run_its_id_is_needed(app: Celery, store: WatchedStore) -> None:
    with pytest.raises(NoRunError, match=r"score 'tone' has no run: give run_id=…"):
        score("tone", 1)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"name": ""}, "is blank"),
        ({"name": "a'b"}, "single quote"),
        ({"value": float("nan")}, "not a finite number"),
        ({"value": "good"}, "not a finite number"),
        ({"comment": 5}, "give text"),
        ({"source": "a\nb"}, "give one line"),
        ({"run_id": ""}, r"score 'tone': run_id='' is no id of a run: give text"),
        ({"run_id": 5}, r"score 'tone': run_id=5 is no id"),
        ({"run_id": "\ud800"}, r"is no id"),
        ({"run_id": " "}, r"is no id"),
        ({"run_id": "r\0"}, r"is no id"),
        ({"run_id": "r\n"}, r"is no id"),
        ({"run_id": "r" * 5_000}, r"is no id"),
        ({"step": ""}, "the step of score 'tone' is ''"),
        ({"step": 5}, "the step of score 'tone' is 5"),
    ],
)
def test_a_bad_score_is_refused_before_anything_is_written(
    app: Celery, store: WatchedStore, options: dict[str, Any], reason: str
) -> None:
    given: dict[str, Any] = {"name": "tone", "value": 1, "run_id": "run", **options}
    with pytest.raises(ScoreError, match=reason):
        score(given.pop("name"), given.pop("value"), **given)

    assert store.asked == []


def test_without_a_store_a_score_says_which_setting_is_missing(app: Celery) -> None:
    with pytest.raises(StoreError, match="set defer_store_url"):
        score("tone", 1, run_id="run")


def test_a_store_that_is_away_is_an_error(app: Celery, store: WatchedStore) -> None:
    store.away = {"score"}
    with pytest.raises(StoreError, match=r"score 'tone' of run run finds no store \(Conn.* is aw"):
        score("tone", 1, run_id="run")


def test_one_score_asks_the_store_once(app: Celery, store: WatchedStore) -> None:
    score("tone", 1, run_id="run")

    assert store.asked == ["score"]


def test_a_signal_tells_of_a_score(
    app: Celery, worker: Worker, store: WatchedStore, heard: list[dict[str, Any]]
) -> None:
    def body() -> None:
        score("tone", 0.5, comment="why", source="judge-2")

    task = parent_of(app, body)
    run = worker.perform(task)

    assert heard == [
        {
            "sender": task.name, "run_id": run.id, "task": task.name, "scorer_id": run.id,
            "name": "tone", "value": 0.5, "step": None, "comment": "why", "source": "judge-2",
        }
    ]  # fmt: skip


def test_a_score_that_is_there_already_is_not_told_again(
    app: Celery, store: WatchedStore, heard: list[dict[str, Any]]
) -> None:
    for value in (1, 1, 2):
        score("tone", value, run_id="run")

    assert [facts["value"] for facts in heard] == [1, 2]
    assert [facts["sender"] for facts in heard] == [None, None]


def test_a_score_counts_in_the_experiments_that_its_run_carries(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    @deferred
    @app.task(name="child", shared=False)
    def child() -> None:
        parent = current_run().parent
        assert parent is not None
        score("of-the-parent", 2, run_id=parent.id)
        score("own", 3)

    @app.task(name="reply", shared=False)
    def reply() -> None:
        score("before", 0)
        experiment("flow", {"a": lambda: score("inside", 1)})
        defer("child", child)

    run = worker.perform(reply)
    worker.drain()
    score("outside", 4, run_id=run.id)
    score("outside", 5, run_id=run_id(run.id, "child"))
    score("outside", 6, run_id="stranger")

    counted = sorted(store.values("flow"))
    assert counted == [
        ("before", run.id, 0), ("inside", run.id, 1), ("of-the-parent", run.id, 2),
        ("outside", run.id, 4), ("outside", run.id, 5), ("own", run.id, 3),
    ]  # fmt: skip
    assert [row.value for row in scores.of_experiment("flow", variant="a")] != []


def test_a_run_without_a_record_knows_what_it_carries(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    app.conf.defer_record = False

    @deferred
    @app.task(name="child", shared=False)
    def child() -> None:
        score("own", 3)

    @app.task(name="reply", shared=False)
    def reply() -> None:
        experiment("flow", {"a": lambda: defer("child", child)})

    run = worker.perform(reply)
    worker.drain()

    assert list(store.values("flow")) == [("own", run.id, 3)]
