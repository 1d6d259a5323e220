"""A run takes one variant of an experiment, keeps it, and hands it down."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from datetime import datetime, timedelta, timezone
from functools import partial
from threading import Thread
from typing import Any

import pytest
from celery import Celery

from celery_defer import (
    Choice,
    ExperimentError,
    NoRunError,
    Score,
    StoreError,
    bucket,
    current_run,
    defer,
    deferred,
    deferring,
    experiment,
    fixed,
    record,
    restart,
    run_id,
    score,
    scorer,
    step,
)
from celery_defer.run import Memo
from celery_defer.testing import SimulatedRun, Simulation
from tests.support.inside import WatchedStore, Worker, parent_of

TWO: dict[str, Callable[[], str]] = {"control": lambda: "old", "variant": lambda: "new"}


def test_9_5_a_run_takes_a_variant_and_gets_its_result(app: Celery, sim: Simulation) -> None:
    @app.task
    def checkout(user: str) -> list[str]:
        taken = experiment("flow", TWO, select=bucket(user))
        return [taken.variant, taken.result]

    alice, bob = sim.run(checkout, "alice"), sim.run(checkout, "bob")

    assert (alice.result, bob.result) == (["control", "old"], ["variant", "new"])
    assert (alice.variants, bob.variants) == ({"flow": "control"}, {"flow": "variant"})


def test_without_a_selector_the_id_of_the_run_chooses(app: Celery, sim: Simulation) -> None:
    @app.task
    def checkout() -> str:
        return experiment("flow", TWO).variant

    results = {sim.run(checkout).result for _ in range(50)}

    assert results == {"control", "variant"}


def test_what_a_run_takes_in_one_experiment_says_nothing_about_another(
    app: Celery, sim: Simulation
) -> None:
    @app.task
    def checkout() -> tuple[str, str]:
        return experiment("flow", TWO).variant, experiment("price", TWO).variant

    results = {tuple(sim.run(checkout).result) for _ in range(60)}

    assert len(results) == 4


def test_a_run_that_waits_keeps_its_variant_whatever_a_deploy_changes(
    app: Celery, sim: Simulation
) -> None:
    weights = ["control"]

    @app.task
    def checkout() -> str:
        taken = experiment("flow", TWO, select=fixed(weights[0]))
        step.sleep("nap", 5)
        return taken.variant

    run = sim.run(checkout)
    weights[0] = "variant"
    sim.advance(5)

    assert run.result == "control"
    assert sim.run(checkout).variants == {"flow": "variant"}


def test_the_selector_is_asked_once_in_a_run_that_waits(app: Celery, sim: Simulation) -> None:
    asked = []

    def select(choice: Choice) -> str:
        asked.append(choice)
        return "variant"

    @app.task
    def checkout() -> str:
        experiment("flow", TWO, select=select)
        step.sleep("one", 5)
        step.sleep("two", 5)
        return current_run().id

    run = sim.run(checkout)
    sim.advance(20)

    assert asked == [Choice("flow", run.result, ("control", "variant"))]


def test_a_retry_keeps_the_variant(app: Celery, sim: Simulation) -> None:
    answers = ["control", "variant"]
    seen = []

    @app.task(autoretry_for=(OSError,), retry_backoff=1, retry_jitter=False)
    def checkout() -> None:
        seen.append(experiment("flow", TWO, select=fixed(answers[len(seen)])).variant)
        if len(seen) == 1:
            raise OSError

    sim.run(checkout)
    sim.advance(10)

    assert seen == ["control", "control"]


def test_a_second_delivery_of_the_run_has_its_variant(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    answers = ["control", "variant"]
    seen: list[str] = []

    @app.task
    def checkout() -> None:
        seen.append(experiment("flow", TWO, select=fixed(answers[len(seen)])).variant)

    checkout.delay()
    (message,) = worker.published()
    worker.trace(message)
    app.backend.forget(message.headers["id"])
    worker.trace(message)

    assert seen == ["control", "control"]


def test_a_variant_that_a_deploy_has_removed_is_named(app: Celery, sim: Simulation) -> None:
    variants = dict(TWO)

    @app.task
    def checkout() -> None:
        experiment("flow", variants, select=fixed(next(iter(variants))))
        step.sleep("nap", 5)

    run = sim.run(checkout)
    del variants["control"]
    sim.advance(5)

    assert isinstance(run.exception, ExperimentError)
    assert "experiment 'flow' has no variant 'control' any more" in str(run.exception)
    assert "there are 'variant'" in str(run.exception)


def test_an_experiment_is_begun_once_in_a_run(app: Celery, sim: Simulation) -> None:
    @app.task
    def checkout() -> None:
        experiment("flow", TWO, select=fixed("control"))
        experiment("flow", TWO, select=fixed("variant"))

    run = sim.run(checkout)

    assert isinstance(run.exception, ExperimentError)
    assert "is begun twice" in str(run.exception)
    assert "'control'" in str(run.exception)


def test_a_deferred_run_does_not_begin_what_it_carries(app: Celery, sim: Simulation) -> None:
    @deferred
    @app.task(name="again")
    def again() -> None:
        experiment("flow", TWO)

    @app.task
    def checkout() -> None:
        experiment("flow", TWO, select=fixed("control"))
        defer("again", again)

    run = sim.run(checkout)
    sim.drain()

    error = run.deferred["again"].run.exception
    assert isinstance(error, ExperimentError)
    assert f"carries experiment 'flow' from run {run.id}, which has taken 'control'" in str(error)


@pytest.mark.parametrize(
    ("begin", "words"),
    [
        (lambda: experiment("flow", {}), "has no variants"),
        (lambda: experiment(" ", TWO), "the id of an experiment"),
        (lambda: experiment("flow", 7), "variants=7 is no dict"),  # type: ignore[arg-type]
        (lambda: experiment("flow", {"a": 7}), "variant 'a' is 7"),  # type: ignore[dict-item]
        (lambda: experiment("flow", {"a'": print}), "a variant of experiment 'flow'"),
        (lambda: experiment("flow", TWO, select=fixed("blue")), "has no variant 'blue'"),
        (lambda: experiment("flow", TWO, select=7), "select=7"),  # type: ignore[arg-type]
        (lambda: step.run("s", partial(experiment, "flow", TWO)), "is inside step 's'"),
    ],
)
def test_what_cannot_be_an_experiment_fails_at_once(
    app: Celery, sim: Simulation, begin: Callable[[], Any], words: str
) -> None:
    @app.task(autoretry_for=(Exception,))
    def checkout() -> None:
        begin()

    run = sim.run(checkout)

    assert run.state == "FAILURE"
    error = run.exception
    assert error is not None
    assert words in str(error)
    assert isinstance(error, ExperimentError) or isinstance(error.__cause__, ExperimentError)


def test_a_bad_score_or_experiment_is_not_tried_again(app: Celery, sim: Simulation) -> None:
    @app.task(autoretry_for=(Exception,))
    def bad() -> None:
        Score("", 1)

    run = sim.run(bad)

    assert (run.state, run.passes) == ("FAILURE", 1)
    assert "Final" not in str(run.traceback)


def test_other_errors_are_tried_again(app: Celery, sim: Simulation) -> None:
    @app.task(autoretry_for=(Exception,))
    def bad() -> None:
        raise ValueError

    assert sim.run(bad).state == "RETRY"


def test_experiments_nest_and_stand_side_by_side(app: Celery, sim: Simulation) -> None:
    def tone() -> str:
        return experiment("tone", {"warm": lambda: "dear"}).result

    @app.task
    def checkout() -> str:
        first = experiment("flow", {"control": tone}).result
        experiment("price", {"low": lambda: None})
        return first

    run = sim.run(checkout)

    assert run.result == "dear"
    assert run.variants == {"flow": "control", "tone": "warm", "price": "low"}


def test_9_6_all_that_a_run_defers_from_then_on_carries_its_variants(
    app: Celery, sim: Simulation
) -> None:
    seen: dict[str, Any] = {}

    @deferred
    @app.task(name="leaf")
    def leaf(name: str) -> None:
        seen[name] = dict(current_run().experiments)

    @deferred
    @app.task(name="middle")
    def middle() -> None:
        step.sleep("nap", 5)
        defer("leaf", leaf, name="two below")
        step.invoke("invoked", leaf, name="invoked below")

    def body() -> None:
        defer("in", leaf, name="inside")
        step.run("step", lambda: defer("leaf", leaf, name="in a step") and None)
        step.invoke("leaf", leaf, name="invoked")
        with deferring():
            defer("block", leaf, name="in a block")
        step.sleep("nap", 5)

    @app.task
    def checkout() -> None:
        defer("before", leaf, name="before")
        defer("now", leaf.with_options(when="now"), name="now, before")
        experiment("flow", {"control": body})
        defer("after", leaf, name="after")
        defer("now-after", leaf.with_options(when="now"), name="now, after")
        defer("middle", middle)

    sim.run(checkout)
    sim.advance("1h")

    taken = {"flow": "control"}
    assert seen == {
        "before": {},
        "now, before": {},
        "now, after": taken,
        "inside": taken,
        "in a step": taken,
        "in a block": taken,
        "invoked": taken,
        "after": taken,
        "two below": taken,
        "invoked below": taken,
    }


def test_a_header_that_is_none_of_ours_is_left_out(app: Celery, worker: Worker) -> None:
    seen = []

    @deferred
    @app.task(name="leaf")
    def leaf() -> None:
        seen.append(dict(current_run().experiments))

    worker.run(parent_of(app, lambda: defer("leaf", leaf) and None))
    (message,) = worker.published()
    bad = {"a": "b", "c": ["d"], "e": ["f", 7], "g": ["h", "run-1"], "i": None, "j": ["", "r"]}
    message.headers["celery_defer"]["experiments"] = bad
    worker.trace(message)

    assert seen == [{"g": "h"}]


def test_a_message_of_the_release_before_carries_nothing(app: Celery, worker: Worker) -> None:
    seen = []

    @deferred
    @app.task(name="leaf")
    def leaf() -> None:
        seen.append(dict(current_run().experiments))

    worker.run(parent_of(app, lambda: defer("leaf", leaf) and None))
    (message,) = worker.published()

    assert "experiments" not in message.headers["celery_defer"]
    worker.trace(message)
    assert seen == [{}]


def test_a_step_in_a_variant_shows_it_in_the_record(app: Celery, sim: Simulation) -> None:
    def body() -> None:
        step.run("inside", str)
        step.sleep("sleeping", 5)
        step.wait_for_event("waiting", "never", timeout=5)

    @app.task
    def checkout() -> None:
        step.run("before", str)
        experiment("flow", {"control": body})
        step.run("after", str)
        step.sleep("long", 5)

    run = sim.run(checkout)
    sim.advance(12)

    rows = record(run.id).steps
    inside = {row.id: dict(row.experiments) for row in rows}
    taken = {"flow": "control"}
    assert inside == {
        "before": {},
        "inside": taken,
        "sleeping": taken,
        "waiting": taken,
        "after": {},
        "long": {},
    }


def test_the_record_shows_what_a_run_has_taken_and_carries(app: Celery, sim: Simulation) -> None:
    @deferred
    @app.task(name="leaf")
    def leaf() -> None: ...

    @app.task
    def checkout() -> None:
        experiment("flow", {"control": str})
        defer("leaf", leaf)

    run = sim.run(checkout)
    sim.drain()

    assert record(run.id).run.experiments == {"flow": "control"}
    assert record(run.deferred["leaf"].run.id).run.experiments == {"flow": "control"}


def test_a_run_without_a_store_has_no_place_for_its_variant(app: Celery, worker: Worker) -> None:
    result = worker.run(parent_of(app, lambda: experiment("flow", TWO)))

    assert result.state == "FAILURE"
    assert isinstance(result.result, StoreError)
    assert "set defer_store_url" in str(result.result)


def test_while_the_store_is_away_a_run_takes_no_variant_and_is_tried_again(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    ran = []
    store.away.add("assign")

    result = worker.run(
        parent_of(app, lambda: experiment("flow", {"control": partial(ran.append, 1)}))
    )

    assert (result.state, ran) == ("RETRY", [])


def test_an_eager_run_takes_a_variant_that_nothing_remembers(
    app: Celery, store: WatchedStore
) -> None:
    seen = []

    @deferred
    @app.task(name="leaf")
    def leaf() -> None:
        seen.append(dict(current_run().experiments))

    @app.task
    def checkout() -> str:
        taken = experiment("flow", TWO, select=fixed("variant"))
        defer("leaf", leaf)
        return taken.variant

    assert checkout.apply().get() == "variant"
    assert seen == [{"flow": "variant"}]
    assert "assign" not in store.asked


def test_outside_a_run_there_is_no_experiment(app: Celery) -> None:
    with pytest.raises(NoRunError):
        experiment("flow", TWO)
    with deferring(app), pytest.raises(NoRunError, match="put it into a task"):
        experiment("flow", TWO)


def test_one_assignment_is_one_round_trip_and_its_memo_none(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    worker.run(parent_of(app, lambda: experiment("flow", TWO).variant))

    assert store.asked.count("assign") == 1
    assert {"recall", "remember"}.isdisjoint(store.asked)


def test_a_run_that_has_taken_a_variant_is_open_until_it_ends(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    opened = []

    def body() -> None:
        experiment("flow", TWO)
        opened.append(store.open_runs("flow"))

    result = worker.run(parent_of(app, body))
    failed = worker.run(parent_of(app, lambda: body() or 1 / 0))

    assert opened == [{result.id}, {failed.id}]
    assert store.open_runs("flow") == set()


def test_a_run_is_open_as_long_as_one_that_carries_its_experiment(
    app: Celery, sim: Simulation
) -> None:
    store = app._celery_defer.store

    @deferred
    @app.task(name="leaf")
    def leaf() -> None:
        step.sleep("nap", 60)

    @app.task
    def checkout() -> None:
        experiment("flow", TWO)
        defer("leaf", leaf)

    run = sim.run(checkout)
    sim.drain()
    while_it_waits = store.open_runs("flow")
    sim.advance(60)

    assert while_it_waits == {run.id}
    assert store.open_runs("flow") == set()


@pytest.mark.parametrize("when", ["success", "now"])
@pytest.mark.parametrize("by", ["countdown", "eta"])
def test_a_run_is_open_until_what_it_has_deferred_for_later_has_ended(
    app: Celery, sim: Simulation, by: str, when: Any
) -> None:
    days = timedelta(days=10)
    start = {"countdown": days.total_seconds(), "eta": datetime.now(timezone.utc) + days}[by]

    @deferred
    @app.task(name="leaf")
    def leaf() -> None: ...

    assert_is_open_for_ten_days(app, sim, leaf.with_options(when=when, **{by: start}))


def test_a_run_is_open_while_one_that_carries_its_experiment_waits_for_its_retry(
    app: Celery, sim: Simulation
) -> None:
    @deferred
    @app.task(name="leaf", bind=True)
    def leaf(self: Any) -> None:
        if not self.request.retries:
            raise self.retry(countdown=10 * 86_400)

    assert_is_open_for_ten_days(app, sim, leaf)


def assert_is_open_for_ten_days(app: Celery, sim: Simulation, leaf: Any) -> None:
    """Whether a run that has taken a variant, and deferred *leaf*, is open that long."""
    store = app._celery_defer.store

    @app.task
    def checkout() -> None:
        experiment("flow", TWO)
        defer("leaf", leaf)

    run = sim.run(checkout)
    sim.advance("9d")
    assert store.open_runs("flow") == {run.id}

    sim.advance("2d")
    assert store.open_runs("flow") == set()


def test_what_a_scorer_writes_counts_for_the_variant_of_its_parent(
    app: Celery, sim: Simulation
) -> None:
    store = app._celery_defer.store

    @scorer
    @app.task(name="judge")
    def judge() -> Score:
        experiment("prompt", {"short": str})  # its own, for which the score does not count
        return Score("quality", 0.5)

    @app.task
    def checkout() -> None:
        experiment("flow", {"control": str})
        defer("judge", judge)

    run: SimulatedRun[Any] = sim.run(checkout)
    sim.drain()

    assert list(store.values("flow")) == [("quality", run.id, 0.5)]
    assert list(store.values("prompt")) == []


def test_what_a_run_was_scored_before_its_experiment_counts(app: Celery, sim: Simulation) -> None:
    @app.task
    def checkout() -> None:
        score("early", 1)
        step.score("rate", "rated", True)
        experiment("flow", TWO)

    run: SimulatedRun[Any] = sim.run(checkout)

    counted = app._celery_defer.store.values("flow")
    assert sorted(counted) == [("early", run.id, 1), ("rated", run.id, True)]


def test_the_memo_of_what_a_run_has_taken_is_no_step_to_the_release_before() -> None:
    assert Memo.unpack(Memo('"control"').pack()).kind == ""


def test_a_run_that_is_restarted_has_the_variants_that_it_had(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    answers = ["control"]
    results: list[Any] = []

    @deferred
    @app.task(name="carrier")
    def carrier() -> None:
        taken = experiment("own", TWO, select=fixed(answers[0])).variant
        step.run("one", str)
        if answers == ["control"]:
            raise ValueError
        results.append([taken, current_run().experiments])

    @app.task
    def checkout() -> None:
        experiment("flow", {"control": str})
        defer("carrier", carrier)

    run = worker.run(checkout)
    worker.drain()
    answers[:] = ["variant"]
    restart(run_id(run.id, "carrier"))
    worker.wake(0)

    assert results == [["control", {"flow": "control", "own": "control"}]]
    assert store.asked.count("assign") == 2


def test_two_threads_of_a_run_begin_an_experiment_once(app: Celery, sim: Simulation) -> None:
    errors: list[str] = []

    @app.task
    def checkout() -> str:
        def begin() -> None:
            try:
                experiment("flow", TWO, select=fixed("control"))
            except ExperimentError as error:
                errors.append(str(error))

        threads = [Thread(target=copy_context().run, args=[begin]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return str(current_run().experiments)

    assert sim.run(checkout).result == "{'flow': 'control'}"
    assert len(errors) == 3
    assert {"is begun twice" in error for error in errors} == {True}


def test_an_attempt_that_ends_before_its_experiment_ends_it(app: Celery, sim: Simulation) -> None:
    store = app._celery_defer.store

    @app.task(bind=True)
    def checkout(self: Any) -> None:
        if self.request.retries:
            raise ValueError
        experiment("flow", TWO)
        raise self.retry(countdown=10)

    run = sim.run(checkout)
    before = store.open_runs("flow")
    sim.advance(20)

    assert before == {run.id}
    assert (run.state, store.open_runs("flow")) == ("FAILURE", set())


@pytest.mark.parametrize(("end", "state"), [(int, "SUCCESS"), (lambda: 1 / 0, "FAILURE")])
def test_a_run_that_ends_before_its_experiment_after_a_wait_ends_it(
    app: Celery, sim: Simulation, end: Callable[[], Any], state: str
) -> None:
    store = app._celery_defer.store
    turns: list[int] = []

    @app.task
    def checkout() -> None:
        turns.append(1)
        if len(turns) > 1:
            end()
            return
        experiment("flow", TWO)
        step.sleep("nap", 60)

    run = sim.run(checkout)
    before = store.open_runs("flow")
    sim.advance(60)

    assert before == {run.id}
    assert (run.state, store.open_runs("flow")) == (state, set())


def test_a_run_whose_variant_is_gone_after_a_deploy_ends(app: Celery, sim: Simulation) -> None:
    store = app._celery_defer.store
    variants = dict(TWO)

    @app.task
    def checkout() -> None:
        experiment("flow", variants, select=fixed(next(iter(variants))))
        step.sleep("nap", 60)

    run = sim.run(checkout)
    del variants["control"]
    sim.advance(60)

    assert (run.state, store.open_runs("flow")) == ("FAILURE", set())
