"""The examples in the docstrings of the simulation run."""

from __future__ import annotations

import doctest
from typing import Any

import pytest
from celery import Celery

from celery_defer import defer, deferred, step
from celery_defer.testing import Simulation
from tests.support.shop import GatewayDown

EXAMPLES = [
    name
    for name, documented in vars(Simulation).items()
    if ">>>" in (documented.__doc__ or "") and not name.startswith("_")
]


@pytest.fixture
def tasks(shop: Celery) -> dict[str, Any]:
    """What the examples of the docstrings speak of."""

    @deferred
    @shop.task
    def receipt(order_id: int) -> None: ...

    @deferred
    @shop.task
    def track_analytics(order_id: str, user_id: str) -> None: ...

    @deferred
    @shop.task
    def make_invoice(order_id: int) -> None: ...

    @shop.task
    def process_order(order_id: int) -> dict[str, str]:
        defer("receipt", receipt, order_id=order_id)
        return step.run("charge", dict)

    known = [track_analytics, make_invoice, process_order]
    return {task.__name__: task for task in known} | {"GatewayDown": GatewayDown}


def run_examples(documented: object, names: dict[str, Any]) -> None:
    for example in doctest.DocTestParser().get_examples(documented.__doc__ or ""):
        exec(example.source, names)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_the_docstrings_run(shop: Celery, tasks: dict[str, Any], name: str) -> None:
    with Simulation(shop) as sim:
        sim.run(tasks["process_order"], 7)
        run_examples(vars(Simulation)[name], {**tasks, "sim": sim})
        sim.run(tasks["process_order"], 8)
        sim.run(tasks["make_invoice"], 8)

        assert {run.state for run in sim.runs} <= {"SUCCESS", "PENDING", "FAILURE"}


def test_the_example_of_the_class_runs(shop: Celery, tasks: dict[str, Any]) -> None:
    names = {**tasks, "app": shop, "Simulation": Simulation}

    run_examples(Simulation, names)

    assert names["order"].state == "SUCCESS"
