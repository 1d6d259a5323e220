"""What ``result`` raises of a run that has none."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import defer, step
from celery_defer.testing import Simulation, SimulationError
from tests.support.shop import GatewayDown


def test_a_failed_runs_result_raises_what_it_failed_with(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def order() -> None:
        raise GatewayDown("no answer")

    run = sim.run(order)

    with pytest.raises(GatewayDown, match="no answer"):
        assert run.result
    assert (run.state, repr(run.exception)) == ("FAILURE", "GatewayDown('no answer')")
    assert "in order" in str(run.traceback)


def test_a_run_that_waits_has_no_result_and_says_why(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def nap() -> None:
        step.sleep("a week", "7d")

    run = sim.run(nap)

    with pytest.raises(
        SimulationError, match=r"WAITING.* has no result: it waits at step 'a week'"
    ):
        assert run.result


def test_a_run_that_has_not_run_says_what_to_call(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def later() -> None: ...

    run = sim.find(later.delay().id)

    with pytest.raises(SimulationError, match=r"has no result: it has not run: call drain\(\)"):
        _ = run.result


def test_a_call_that_was_not_made_names_those_that_were(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @shop.task
    def order() -> None:
        defer("receipt", mail, to="ada")

    run = sim.run(order)

    with pytest.raises(SimulationError, match="nothing as 'recipt'; there are: 'receipt'"):
        _ = run.deferred["recipt"]
    assert run.deferred.get("recipt") is None
