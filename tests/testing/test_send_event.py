"""``send_event`` and ``events``: which runs an event wakes, and which events were sent."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from celery import Celery
from pydantic import BaseModel, StringConstraints

import celery_defer
from celery_defer import Event, defer, deferred, step
from celery_defer.testing import Simulation, Waiting
from tests.support.shop import MONDAY, OrderPlaced


def test_an_event_runs_those_that_wait_for_it(shop: Celery, sim: Simulation, mail: Any) -> None:
    bought = Event("purchase/completed", OrderPlaced)

    @shop.task
    def follow(id: str) -> datetime | None:
        found = step.wait_for_event("buy", bought, timeout="7d", match={"order_id": id})
        defer("thanks", mail, to="ada")
        return found and found.data.at

    run, other = sim.run(follow, "o-1"), sim.run(follow, "o-2")
    waits_for = run.waits_for
    woken = sim.send_event(bought, OrderPlaced(order_id="o-1", at=MONDAY))

    until = MONDAY + timedelta(days=7)
    wanted = {"order_id": "o-1"}
    assert waits_for == Waiting("buy", "event", until, "purchase/completed", match=wanted)
    assert (woken, run.result, other.state) == (1, MONDAY, "WAITING")
    assert run.deferred["thanks"].run.state == "PENDING"


def test_a_wait_reads_its_values_by_the_rules_of_the_events_fields(
    shop: Celery, sim: Simulation
) -> None:
    class Clicked(BaseModel):
        email: Annotated[str, StringConstraints(to_lower=True)]

    clicked = Event("clicked", Clicked)

    @shop.task
    def follow() -> bool:
        found = step.wait_for_event("click", clicked, timeout="7d", match={"email": "Ada@X.org"})
        return found is not None

    run = sim.run(follow)
    woken = sim.send_event(clicked, Clicked(email="Ada@X.org"))

    assert (woken, run.result) == (1, True)


def test_an_event_that_other_code_sends_wakes_a_run_which_then_waits_its_turn(
    shop: Celery,
) -> None:
    @shop.task
    def follow() -> bool:
        return step.wait_for_event("buy", "purchase/completed", timeout="7d") is not None

    Celery("other", set_as_current=True)
    with Simulation(shop) as sim:
        run = sim.run(follow)
        woken = celery_defer.send_event("purchase/completed")
        before = run.state
        sim.drain()

    assert (woken, before, run.result) == (1, "WAITING", True)


def test_a_wait_that_is_over_answers_none(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def follow() -> bool:
        return step.wait_for_event("buy", "purchase/completed", timeout="7d") is None

    run = sim.run(follow)
    sim.advance("7d")

    assert run.result is True
    assert sim.send_event("purchase/completed") == 0


def test_a_simulation_shows_what_was_sent_in_order(shop: Celery, sim: Simulation) -> None:
    bought = Event("purchase/completed", OrderPlaced)

    @shop.task
    def ship(id: str) -> None:
        step.send_event("tell", "order/shipped", {"order_id": id})
        step.sleep("nap", 60)

    sim.run(ship, "o-1")
    sim.advance("1h")
    sim.send_event(bought, OrderPlaced(order_id="o-2", at=MONDAY), id="p-1")
    sim.advance("1h")
    sim.send_event(bought, OrderPlaced(order_id="o-2", at=MONDAY), id="p-1")

    shipped, paid = sim.events
    assert (shipped.name, shipped.data) == ("order/shipped", {"order_id": "o-1"})
    assert (shipped.at, paid.at) == (MONDAY, MONDAY + timedelta(hours=1))
    assert (paid.id, paid.data) == ("p-1", {"order_id": "o-2", "at": "2030-01-07T09:00:00Z"})


def test_an_event_that_wakes_a_crowd_is_shown_once(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def follow(n: int) -> None:
        step.wait_for_event("any", "opened", timeout="7d", match={"n": n} if n % 2 else None)

    for n in range(3):
        sim.run(follow, n)
    for _ in range(600):
        follow.delay(0)
    sim.drain()

    assert sim.send_event("opened", {"n": 1}) == 603
    assert [event.data for event in sim.events] == [{"n": 1}]


def test_an_event_before_the_run_was_deferred_does_not_count(shop: Celery, sim: Simulation) -> None:
    @deferred
    @shop.task
    def follow() -> bool:
        return step.wait_for_event("buy", "purchase/completed", timeout="7d") is None

    @shop.task
    def parent() -> None:
        defer("follow", follow)

    sim.send_event("purchase/completed")
    sim.advance("1h")
    run = sim.run(parent).deferred["follow"].run
    sim.drain()

    assert run.state == "WAITING"


def test_events_of_one_moment_arrive_in_the_order_of_their_sending(
    shop: Celery, sim: Simulation
) -> None:
    @shop.task
    def follow() -> list[Any]:
        step.sleep("nap", 60)
        events = [step.wait_for_event("any", "opened", timeout="7d") for _ in range(20)]
        return [event and event.data for event in events]

    run = sim.run(follow)
    for n in range(20):
        sim.send_event("opened", n)
    sim.advance(60)

    assert run.result == list(range(20))


def test_an_event_that_was_sent_before_a_run_does_not_count(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def follow() -> bool:
        return step.wait_for_event("any", "opened", timeout="7d") is not None

    sim.run(follow)
    sim.send_event("opened")
    late = sim.run(follow)

    assert late.state == "WAITING"
    assert sim.send_event("opened") == 1
    assert late.result is True


def test_an_events_id_counts_once_a_day(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def follow() -> None:
        step.wait_for_event("any", "opened", timeout="7d")

    sim.send_event("opened", id="e-1")
    sim.run(follow)
    repeat = sim.send_event("opened", id="e-1")
    sim.advance("1d")

    assert (repeat, sim.send_event("opened", id="e-1")) == (0, 1)


def test_an_event_that_wakes_nobody_says_what_is_waited_for(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def follow() -> None:
        step.wait_for_event("buy", "purchase/completed", timeout="7d", match={"order_id": "o-1"})

    sim.run(follow)

    woken = sim.send_event("purchase/completed", {"order_id": "o-2"})

    assert woken == 0
    assert "it waits at step 'buy' for event 'purchase/completed' with order_id = 'o-1'" in repr(
        woken
    )
    assert repr(sim.send_event("opened", id="e-1")).startswith("0 (<run of ")
    assert repr(sim.send_event("opened", id="e-1")) == "0 (an event with this id was sent before)"
