"""What a scorer returns is written to its parent, once; a step scores its run."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from celery import Celery

from celery_defer import (
    OptionError,
    Score,
    ScoreError,
    StoreError,
    defer,
    experiment,
    record,
    scorer,
    step,
)
from celery_defer.contract import Scoring
from celery_defer.errors import ContractError
from celery_defer.run import signals
from celery_defer.store import RunState
from celery_defer.testing import Simulation
from tests.support.inside import WatchedStore, Worker, parent_of


def scored(store: Any, id: str) -> list[tuple[str, Any]]:
    """Return the names and values of the scores of a run, in order."""
    (rows,) = store.scores_of([id])
    return [(row.name, row.value) for row in rows]


def scorer_of(app: Celery, *returned: Any, **options: Any) -> Any:
    """Return a scorer that returns these, one after the other."""
    values = list(returned)

    @scorer
    @app.task(name="judge", shared=False, **options)
    def judge() -> Any:
        value = values.pop(0) if len(values) > 1 else values[0]
        if isinstance(value, Exception):
            raise value
        return value

    return judge


def judged_by(app: Celery, judge: Any) -> Any:
    """Return a task that defers a scorer."""
    return parent_of(app, lambda: defer("judge", judge) and None)


def test_9_1_what_a_scorer_returns_is_written_to_its_parent(app: Celery, sim: Simulation) -> None:
    @scorer
    @app.task(name="judge")
    def judge(reply: str) -> Score:
        return Score("length", len(reply), comment="in letters", source="judge-1")

    @app.task
    def reply() -> None:
        defer("judge", judge, reply="hello")

    run = sim.run(reply)
    sim.drain()

    (score,) = run.scores
    judged = run.deferred["judge"].run
    assert (score.run, score.name, score.value, score.step) == (run.id, "length", 5, None)
    assert (score.comment, score.source, score.by) == ("in letters", "judge-1", judged.id)
    assert judged.result == {
        "name": "length", "value": 5, "comment": "in letters", "source": "judge-1"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("returned", "scores", "result"),
    [
        (None, [], None),
        ([], [], []),
        (
            [Score("tone", 0.5), Score("polite", True)],
            [("tone", 0.5), ("polite", True)],
            [{"name": "tone", "value": 0.5}, {"name": "polite", "value": True}],
        ),
        ((Score("tone", 1),), [("tone", 1)], [{"name": "tone", "value": 1}]),
        (
            [Score("tone", 1), Score("tone", 2, step="draft")],
            [("tone", 1), ("tone", 2)],
            [{"name": "tone", "value": 1}, {"name": "tone", "value": 2, "step": "draft"}],
        ),
    ],
)
def test_a_scorer_returns_one_score_or_several_or_none(
    app: Celery, sim: Simulation, returned: Any, scores: Any, result: Any
) -> None:
    run = sim.run(judged_by(app, scorer_of(app, returned)))
    sim.drain()

    assert scored(app._celery_defer.store, run.id) == scores
    assert run.deferred["judge"].run.result == result


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (
            "great",
            "scorer judge returned str 'great', which is no score: return Score(name, value)",
        ),
        (0.5, "returned float 0.5"),
        ({"name": "a", "value": 1}, "returned dict"),
        ([Score("a", 1), 2], "returned a list whose item 2 is int 2"),
        ([Score("a", 1), Score("a", 2)], "returned two scores 'a'"),
        ((n for n in ()), "returned generator"),
    ],
)
def test_what_is_no_score_fails_the_scorer_and_is_not_tried_again(
    app: Celery, sim: Simulation, returned: Any, words: str
) -> None:
    judge = scorer_of(app, returned, autoretry_for=(Exception,))

    run = sim.run(judged_by(app, judge))
    sim.drain()

    judged = run.deferred["judge"].run
    assert judged.state == "FAILURE"
    assert isinstance(judged.exception, ScoreError)
    assert words in str(judged.exception)
    assert run.scores == []


def test_a_bad_score_in_the_body_is_not_tried_again(app: Celery, sim: Simulation) -> None:
    @scorer
    @app.task(name="judge", autoretry_for=(Exception,))
    def judge() -> Score:
        return Score("tone", float("nan"))

    run = sim.run(judged_by(app, judge))
    sim.drain()

    assert run.deferred["judge"].run.state == "FAILURE"
    assert isinstance(run.deferred["judge"].run.exception, ScoreError)


def test_a_scorer_with_a_schema_and_an_app(app: Celery, sim: Simulation) -> None:
    from pydantic import BaseModel  # noqa: PLC0415

    class Reply(BaseModel):
        text: str

    @scorer(app, schema=Reply, name="judge", sample=0.5)
    def judge(reply: Reply) -> Score:
        return Score("length", len(reply.text))

    @app.task
    def reply() -> None:
        defer("judge", judge, text="hello")

    run = sim.run(reply)
    sim.drain()

    assert scored(app._celery_defer.store, run.id) == [("length", 5)]


def test_a_scorer_that_waits_scores_its_parent_later(app: Celery, sim: Simulation) -> None:
    @scorer
    @app.task(name="bought")
    def bought(order_id: int) -> Score:
        event = step.wait_for_event("buy", "bought", timeout="7d", match={"order_id": order_id})
        return Score("converted", event is not None)

    @app.task
    def offer(order_id: int) -> None:
        defer("bought", bought, order_id=order_id)

    one, two = sim.run(offer, 1), sim.run(offer, 2)
    sim.drain()
    sim.send_event("bought", {"order_id": 1})
    assert (one.scores[0].value, two.scores) == (True, [])
    sim.advance("7d")

    assert [score.value for score in two.scores] == [False]


def test_a_scorer_that_is_delivered_again_writes_nothing_more(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    judge = scorer_of(app, Score("tone", 1), Score("tone", 2))
    run = worker.run(judged_by(app, judge))
    (message,) = worker.published()
    id = message.headers["id"]

    worker.trace(message)
    app.backend.forget(id)  # as if the worker had died before the result
    message.delivery_info["redelivered"] = True
    worker.trace(message)

    assert app.AsyncResult(id).get() == {"name": "tone", "value": 2}  # it has run again
    assert scored(store, run.id) == [("tone", 1)]


def test_another_scorer_replaces_the_value_and_the_history_has_both(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    judge = scorer_of(app, Score("tone", 1), Score("tone", 2))

    @app.task
    def parent() -> None:
        defer("one", judge)
        defer("two", judge)

    run = worker.run(parent)
    worker.drain()

    assert scored(store, run.id) == [("tone", 1), ("tone", 2)]


def test_while_the_store_is_away_a_scorer_is_tried_again_and_loses_nothing(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    run = worker.run(judged_by(app, scorer_of(app, Score("tone", 1), max_retries=0)))
    (message,) = worker.published()
    store.away.add("score")
    worker.trace(message)
    state = app.AsyncResult(message.headers["id"]).state
    store.away.clear()
    worker.drain()

    assert state == "RETRY"
    assert scored(store, run.id) == [("tone", 1)]
    assert app.AsyncResult(message.headers["id"]).state == "SUCCESS"


def test_a_scorer_without_a_store_fails_and_says_so(app: Celery, worker: Worker) -> None:
    worker.run(judged_by(app, scorer_of(app, Score("tone", 1))))
    (result,) = worker.drain()

    assert isinstance(result.result, StoreError)
    assert "set defer_store_url" in str(result.result)


def test_a_scorer_that_was_not_deferred_scores_no_run(
    app: Celery, worker: Worker, store: WatchedStore, caplog: pytest.LogCaptureFixture
) -> None:
    judge = scorer_of(app, Score("tone", 1))

    with caplog.at_level(logging.WARNING):
        result = worker.run(judge)

    assert result.get() == {"name": "tone", "value": 1}
    assert "score" not in store.asked
    assert "its scores belong to no run: call it with defer" in caplog.text


def test_a_scorer_that_is_called_as_a_function_returns_its_score(app: Celery) -> None:
    assert scorer_of(app, Score("tone", 1))() == Score("tone", 1)


def test_a_scorer_that_is_invoked_returns_its_score(app: Celery, sim: Simulation) -> None:
    @scorer(sample=1e-9)
    @app.task(name="judge")
    def judge() -> Score:
        return Score("tone", 1)

    @app.task
    def parent() -> str:
        return repr(step.invoke("judge", judge))

    run = sim.run(parent)
    sim.drain()

    assert run.result == repr(Score("tone", 1))
    assert [score.value for score in run.scores] == [1]


def test_an_eager_scorer_is_checked_and_writes_nothing(app: Celery, store: WatchedStore) -> None:
    judged_by(app, scorer_of(app, Score("tone", 1))).apply()

    assert "score" not in store.asked


# -- a sample ------------------------------------------------------------------------------


def test_a_sample_takes_its_part_of_the_runs_and_the_same_ones_each_time() -> None:
    tenth = Scoring(0.1)

    taken = [n for n in range(10_000) if tenth.takes(f"run-{n}", "judge")]

    assert len(taken) == pytest.approx(1_000, abs=150)
    assert [n for n in range(10_000) if tenth.takes(f"run-{n}", "judge")] == taken
    assert [n for n in range(10_000) if tenth.takes(f"run-{n}", "other")] != taken
    assert all(Scoring().takes(f"run-{n}", "judge") for n in range(1_000))


def test_a_run_outside_the_sample_has_a_call_that_is_not_sampled(
    app: Celery, worker: Worker, store: WatchedStore, caplog: pytest.LogCaptureFixture
) -> None:
    handles, skips = [], []

    def on_skip(**facts: Any) -> None:
        skips.append(facts)

    @scorer(sample=1e-9)
    @app.task(name="judge", shared=False)
    def judge() -> None: ...

    def body() -> None:
        experiment("flow", {"control": str})
        handles.append(defer("judge", judge))

    signals.call_skipped.connect(on_skip)
    app.conf.defer_strict = True
    with caplog.at_level(logging.WARNING):
        run = worker.run(parent_of(app, body))
    signals.call_skipped.disconnect(on_skip)

    assert [handle.skipped for handle in handles] == ["not sampled"]
    assert worker.published() == []
    assert (caplog.text, skips) == ("", [])
    (call,) = record(run.id).defers
    assert (call.state, call.reason, call.task) == (RunState.SKIPPED, "not sampled", "judge")
    assert store.unsampled("flow") == {run.id}


def test_a_bad_call_of_a_scorer_is_refused_and_not_counted_as_not_sampled(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    @scorer(sample=1e-9)
    @app.task(name="judge", shared=False)
    def judge(reply: str) -> None: ...

    def body() -> None:
        experiment("flow", {"control": str})
        defer("judge", judge, reply=7)  # type: ignore[arg-type]

    run = worker.run(parent_of(app, body))

    assert "reply" in str(record(run.id).defers[0].reason)
    assert store.unsampled("flow") == set()


def test_in_a_simulation_all_runs_are_in_the_sample(app: Celery, sim: Simulation) -> None:
    @scorer(sample=1e-9)
    @app.task(name="judge")
    def judge() -> Score:
        return Score("tone", 1)

    run = sim.run(judged_by(app, judge))
    sim.drain()

    assert len(run.scores) == 1


@pytest.mark.parametrize("sample", [0, -0.1, 1.1, float("nan"), float("inf"), "0.1", None, True])
def test_an_impossible_sample_is_an_error_where_it_is_written(app: Celery, sample: Any) -> None:
    with pytest.raises(OptionError, match="@scorer: sample="):
        scorer(sample=sample)
    with pytest.raises(OptionError, match="@scorer: sample="):
        scorer(app, sample=sample)


def test_a_scorer_is_declared_like_a_deferred_function(app: Celery) -> None:
    with pytest.raises(OptionError, match="@scorer has no option 'sampel'; did you mean 'sample'"):
        scorer(sampel=0.1)  # type: ignore[call-overload]
    with pytest.raises(ContractError, match=r"put @scorer on top of @app\.task"):
        scorer(lambda: None)


# -- step.score ----------------------------------------------------------------------------


def test_9_2_a_step_scores_its_run_once(app: Celery, sim: Simulation) -> None:
    values = [1, 2]

    @app.task
    def parent() -> None:
        experiment("flow", {"control": str})
        step.score("score", "tone", values.pop(0), comment="why", source="me")
        step.sleep("nap", 5)

    run = sim.run(parent)
    sim.advance(5)

    (score,) = run.scores
    assert (score.value, score.comment, score.source, score.by) == (1, "why", "me", run.id)
    assert [(row.id, row.kind) for row in record(run.id).steps] == [
        ("score", "score"),
        ("nap", "sleep"),
    ]
    assert list(app._celery_defer.store.values("flow")) == [("tone", run.id, 1)]


def test_a_step_that_died_before_its_memo_scores_once(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    store.away.add("remember")
    parent_of(app, lambda: step.score("score", "tone", 1)).delay()
    (message,) = worker.published()
    worker.trace(message)
    store.away.clear()
    worker.drain()

    assert scored(store, message.headers["id"]) == [("tone", 1)]
    assert store.asked.count("score") == 2


def test_a_bad_score_in_a_step_is_named_and_nothing_is_written(
    app: Celery, sim: Simulation
) -> None:
    run = sim.run(parent_of(app, lambda: step.score("score", "tone", None)))  # type: ignore[arg-type]

    assert isinstance(run.exception, ScoreError)
    assert "step 'score': score 'tone': None is not a finite number" in str(run.exception)
    assert run.scores == []


def test_an_eager_step_scores_nothing(app: Celery, store: WatchedStore) -> None:
    parent_of(app, lambda: step.score("score", "tone", 1)).apply().get()

    assert "score" not in store.asked


def test_a_score_of_a_step_is_of_that_step(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    judge = scorer_of(app, [Score("tone", 1, step="draft"), Score("tone", 1, step="nowhere")])

    def body() -> None:
        step.run("draft", str)
        defer("judge", judge)

    run = worker.run(parent_of(app, body))
    worker.drain()

    (rows,) = store.scores_of([run.id])
    assert [row.step for row in rows] == ["draft", "nowhere"]
    assert [place.id for place in store.orphans(limit=9)] == [run.id]


def test_what_a_step_may_not_be() -> None:
    with pytest.raises(ScoreError, match="the step of score 'tone' is 7"):
        Score("tone", 1, step=7)  # type: ignore[arg-type]
    with pytest.raises(ScoreError, match="give the id of a step"):
        Score("tone", 1, step="")
