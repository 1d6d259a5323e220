"""At its end a simulation tells of the failures that nobody has looked at."""

from __future__ import annotations

import pytest
from celery import Celery

from celery_defer import StepError, cancel, deferred, step
from celery_defer.testing import Simulation, SimulationError
from tests.support.shop import GatewayDown


def test_a_failed_run_is_told_before_the_steps_that_it_did_not_come_to(shop: Celery) -> None:
    @shop.task
    def order() -> str:
        raise ValueError("no such order")

    simulation = Simulation(shop)
    with pytest.raises(SimulationError, match="has failed"), simulation:
        _ = (simulation.answer_step("charge", "ch_1"), simulation.run(order))


def test_a_failure_that_the_test_has_not_looked_at_is_told(shop: Celery) -> None:
    @shop.task
    def order() -> None:
        raise GatewayDown("no answer")

    with pytest.raises(SimulationError, match="has failed") as told, Simulation(shop) as sim:
        sim.run(order)

    assert isinstance(told.value.__cause__, GatewayDown)


def test_a_failure_that_the_test_has_looked_at_is_not_told(shop: Celery) -> None:
    @shop.task
    def order() -> None:
        raise GatewayDown

    with Simulation(shop) as sim:
        run = sim.run(order)
        assert run.state == "FAILURE"


def test_a_failure_that_the_invoker_has_received_is_not_told(shop: Celery) -> None:
    @deferred
    @shop.task
    def charge() -> None:
        raise GatewayDown

    @shop.task
    def order() -> str:
        try:
            step.invoke("charge", charge)
        except StepError:
            return "unpaid"
        return "paid"

    with Simulation(shop) as sim:
        run = sim.run(order)
        sim.drain()
        assert run.result == "unpaid"


def test_a_failure_that_passes_through_the_invoker_is_told_of_the_invoker(shop: Celery) -> None:
    @deferred
    @shop.task(name="charge")
    def charge() -> None:
        raise GatewayDown

    @shop.task(name="order")
    def order() -> None:
        step.invoke("charge", charge)

    simulation = Simulation(shop)
    with pytest.raises(SimulationError, match="run of order: FAILURE"), simulation:
        _ = (simulation.run(order), simulation.drain())


def test_a_failure_that_the_invoker_has_not_received_is_told(shop: Celery) -> None:
    @deferred
    @shop.task(name="charge")
    def charge() -> None:
        raise GatewayDown

    @shop.task
    def order() -> None:
        step.invoke("charge", charge)

    simulation = Simulation(shop)
    with pytest.raises(SimulationError, match="run of charge: FAILURE"), simulation:
        _ = (cancel(simulation.run(order).id), simulation.drain())


def test_the_tests_own_error_is_not_hidden_by_a_failed_run(shop: Celery) -> None:
    @shop.task
    def order() -> None:
        raise GatewayDown

    with pytest.raises(ZeroDivisionError), Simulation(shop) as sim:
        assert sim.run(order).passes / 0
