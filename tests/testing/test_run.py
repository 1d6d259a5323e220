"""``run``, ``run_deferred`` and ``drain``: what a test lets run, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, exceptions

from celery_defer import PayloadError, current_run, defer, deferred, step
from celery_defer.testing import Simulation, SimulationError
from tests.support.shop import MONDAY, OrderPlaced, charge


def test_nothing_else_runs_until_the_test_says_so(shop: Celery, sim: Simulation, mail: Any) -> None:
    @shop.task
    def order() -> None:
        defer("receipt", mail, to="ada")

    receipt = sim.run(order).deferred["receipt"].run
    before = receipt.state
    ran = sim.drain()

    assert (before, receipt.state, receipt.result) == ("PENDING", "SUCCESS", "mail to ada")
    assert ran == [receipt]


def test_a_deferred_function_runs_alone_with_a_parsed_payload(
    shop: Celery, sim: Simulation
) -> None:
    got = []

    @deferred(schema=OrderPlaced)
    @shop.task
    def track(order: OrderPlaced) -> str:
        got.append((order, current_run().deferred_at))
        return order.order_id

    run = sim.run_deferred(track, order_id="o-1", at=MONDAY)

    assert (run.result, run.parent) == ("o-1", None)
    assert got == [(OrderPlaced(order_id="o-1", at=MONDAY), MONDAY)]
    with pytest.raises(PayloadError, match="at"):
        sim.run_deferred(track, order_id="o-1", at="never")  # type: ignore[arg-type]


def test_what_is_no_task_is_not_run(sim: Simulation, mail: Any) -> None:
    with pytest.raises(TypeError, match=r"run\(<function charge at .*put @app.task on top"):
        sim.run(charge)
    with pytest.raises(TypeError, match="use run_deferred"):
        sim.run(mail.with_options(countdown=5), to="ada")


def test_a_task_that_sends_itself_for_ever_is_found_out(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def again() -> None:
        again.delay()

    sim.most_at_once = 20
    with pytest.raises(SimulationError, match=r"20 runs.*does .*again send itself"):
        again.delay().get()
    assert len(sim.runs) == 21


def test_what_other_code_sends_waits_and_is_found(shop: Celery, sim: Simulation, mail: Any) -> None:
    result = mail.delay("ada")
    (run,) = sim.runs_of(mail)
    before = run.state
    sim.drain()

    assert before == "PENDING"
    assert run == sim.find(result.id)
    assert (result.state, result.get()) == ("SUCCESS", "mail to ada")
    with pytest.raises(SimulationError, match="no run nobody"):
        sim.find("nobody")


def test_whoever_waits_for_a_result_lets_the_simulation_run(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @shop.task
    def nap() -> None:
        step.sleep("nap", 60)

    assert mail.delay("ada").get() == "mail to ada"
    with pytest.raises(exceptions.TimeoutError, match="no time passes"):
        nap.delay().get()
