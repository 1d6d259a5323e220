"""``waits_for``: what a test sees of a run that waits."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import Event, RetryAfter, step
from celery_defer.testing import Simulation, SimulationError
from tests.support.shop import MONDAY, OrderPlaced, charge


@pytest.mark.parametrize("ignores_result", [False, True])
def test_a_wait_shows_the_values_that_it_compares_as_json_has_them(
    shop: Celery, sim: Simulation, ignores_result: bool
) -> None:
    placed = Event("order/placed", OrderPlaced)

    @shop.task(ignore_result=ignores_result)
    def follow() -> str:
        found = step.wait_for_event("first", placed, timeout="7d", match={"at": MONDAY})
        step.wait_for_event("second", placed, timeout="7d")
        return found.data.order_id if found else "nothing"

    run = sim.run(follow)
    first = run.waits_for
    sim.send_event(placed, OrderPlaced(order_id="o-1", at=MONDAY))
    second = run.waits_for
    sim.send_event(placed, OrderPlaced(order_id="o-2", at=MONDAY))

    assert first is not None
    assert second is not None
    assert (first.step, first.match) == ("first", {"at": "2030-01-07T09:00:00Z"})
    assert (second.step, second.match) == ("second", {})
    assert run.result == "o-1"


def test_a_wait_is_shown_after_the_simulation_too(shop: Celery) -> None:
    @shop.task
    def follow() -> None:
        step.wait_for_event("buy", "purchase/completed", timeout="7d", match={"order_id": "o-1"})

    with Simulation(shop) as sim:
        run = sim.run(follow)

    assert run.waits_for is not None
    assert run.waits_for.match == {"order_id": "o-1"}
    assert hash(run.waits_for)


def test_what_a_run_waits_for_is_said_in_words(shop: Celery, sim: Simulation, mail: Any) -> None:
    @shop.task
    def follow(what: str) -> None:
        if what == "event":
            step.wait_for_event("answer", "bought", timeout="7d", match={"id": "o-1", "n": 2})
        if what == "any":
            step.wait_for_event("answer", "bought", timeout="7d")
        if what == "run":
            step.invoke("mail", mail, to="ada")
        if what == "retry":
            step.run("charge", charge, retries=1)

    def said(what: str) -> str:
        with pytest.raises(SimulationError) as told:
            assert sim.run(follow, what).result
        return str(told.value).partition(" has no result: ")[2]

    sim.fail_step("charge", RetryAfter("1h"))
    monday = "until 2030-01-14T09:00:00+00:00"
    wanted = "event 'bought' with id = 'o-1' and n = 2"
    assert said("event") == f"it waits at step 'answer' for {wanted} {monday}"
    assert said("any") == f"it waits at step 'answer' for event 'bought' {monday}"
    assert said("run") == f"it waits at step 'mail' for run {sim.runs_of(mail)[0].id}"
    hour = "until 2030-01-07T10:00:00+00:00"
    assert said("retry") == f"it waits at step 'charge', to try it again, {hour}"
