"""What ``result`` raises of a run that has none."""

from __future__ import annotations

import pytest
from celery import Celery

from celery_defer import step
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
