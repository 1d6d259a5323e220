"""The scores and variants of a run in a test, and how a test forces a variant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

from celery_defer import ExperimentError, Score, defer, experiment, fixed, scorer, step
from celery_defer.testing import Simulation, SimulationError, force_variant


@pytest.fixture
def checkout(shop: Celery) -> Any:
    @scorer
    @shop.task(name="judge")
    def judge() -> list[Score]:
        return [Score("tone", 0.5), Score("clear", True), Score("tone", 0.1, step="draft")]

    @shop.task(name="checkout")
    def checkout() -> str:
        taken = experiment(
            "flow", {"control": str, "variant": lambda: "new"}, select=fixed("control")
        )
        step.run("draft", str)
        defer("judge", judge)
        step.sleep("nap", 60)
        return taken.result

    return checkout


def test_a_run_has_scores_and_variants(sim: Simulation, checkout: Any) -> None:
    run = sim.run(checkout)
    assert (run.variants, run.scores) == ({"flow": "control"}, [])
    sim.advance("1h")

    assert [(score.name, score.value, score.step) for score in run.scores] == [
        ("tone", 0.5, None),
        ("clear", True, None),
        ("tone", 0.1, "draft"),
    ]
    assert run.deferred["judge"].run.variants == {"flow": "control"}


def test_the_last_score_of_a_name_is_there(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def work() -> None:
        step.score("one", "tone", 1)
        step.score("two", "tone", 2)

    assert [score.value for score in sim.run(work).scores] == [2]


def test_a_test_forces_a_variant(sim: Simulation, checkout: Any) -> None:
    with force_variant("flow", "control"):
        with force_variant("flow", "variant"):
            inner = sim.run(checkout)
        outer = sim.run(checkout)
    sim.advance("1h")

    assert (inner.result, outer.result) == ("new", "")
    assert sim.run(checkout).variants == {"flow": "control"}


def test_a_fixture_forces_a_variant_until_the_test_ends(
    sim: Simulation, checkout: Any, force_variant: Callable[[str, str], None]
) -> None:
    force_variant("flow", "variant")

    assert sim.run(checkout).variants == {"flow": "variant"}


def test_a_variant_is_forced_in_eager_runs_too(shop: Celery) -> None:
    shop.conf.result_backend = "cache+memory://"

    @shop.task
    def eager() -> str:
        return experiment("flow", {"a": str, "b": str}).variant

    with force_variant("flow", "b"):
        assert {eager.apply().get() for _ in range(20)} == {"b"}


def test_a_variant_that_does_not_exist_fails_the_run(sim: Simulation, checkout: Any) -> None:
    with force_variant("flow", "blue"):
        run = sim.run(checkout)

    assert isinstance(run.exception, ExperimentError)
    assert "has no variant 'blue'" in str(run.exception)


def test_a_force_that_no_run_has_used_is_an_error(sim: Simulation, checkout: Any) -> None:
    unused = pytest.raises(SimulationError, match="no run has begun this experiment")
    with unused, force_variant("flwo", "variant"):
        sim.run(checkout)

    with pytest.raises(ValueError, match="of the test"), force_variant("flow", "variant"):
        raise ValueError("of the test")
