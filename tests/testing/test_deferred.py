"""What a test sees of the calls of ``defer`` that a run has made."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import Batch, Concurrency, abort, defer, deferred
from celery_defer.testing import Simulation, SimulationError
from tests.support.shop import MONDAY, GatewayDown, OrderPlaced


def test_a_run_shows_its_result_and_what_it_has_deferred(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @shop.task
    def order(id: int) -> int:
        defer("receipt", mail.with_options(queue="post"), to="ada")
        return id

    run = sim.run(order, id=7)

    assert (run.state, run.result, run.passes) == ("SUCCESS", 7, 1)
    receipt = run.deferred["receipt"]
    assert (receipt.id, receipt.task, receipt.state) == ("receipt", "mail", "PUBLISHED")
    assert receipt.payload == {"to": "ada"}
    assert receipt.options.queue == "post"


def test_a_payload_with_a_schema_is_shown_as_the_object_that_the_function_is_given(
    shop: Celery, sim: Simulation
) -> None:
    @deferred(schema=OrderPlaced)
    @shop.task
    def track(order: OrderPlaced) -> None: ...

    @shop.task
    def parent() -> None:
        defer("track", track, order_id="o-1", at=MONDAY)

    run = sim.run(parent)

    assert run.deferred["track"].payload == OrderPlaced(order_id="o-1", at=MONDAY)


def test_deferred_runs_of_deferred_runs_lead_down_and_up(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @deferred
    @shop.task
    def middle() -> None:
        defer("last", mail, to="ada")

    @shop.task
    def first() -> None:
        defer("middle", middle)

    run = sim.run(first)
    sim.drain()

    last = run.deferred["middle"].run.deferred["last"].run
    assert last.result == "mail to ada"
    assert last.parent is not None
    assert last.parent.parent == run
    assert run.parent is None
    assert run.children == [last.parent]


def test_a_skipped_call_has_its_reason_and_no_run(shop: Celery, sim: Simulation, mail: Any) -> None:
    @shop.task
    def order() -> None:
        defer("receipt", mail, to=7)
        defer("copy", mail, to="ada")
        defer("copy", mail, to="bob")

    run = sim.run(order)

    receipt = run.deferred["receipt"]
    assert (receipt.state, receipt.payload) == ("SKIPPED", None)
    assert "Input should be a valid string" in str(receipt.reason)
    assert [call.id for call in run.skipped] == ["receipt", "copy"]
    assert run.deferred["copy"].payload == {"to": "ada"}
    with pytest.raises(SimulationError, match=r"SKIPPED.* has no run: .*valid string"):
        _ = receipt.run


def test_an_aborted_call_is_shown_as_such_before_and_after_its_publication(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @shop.task
    def order() -> None:
        defer("early", mail, to="ada").abort()
        defer("late", mail, to="ada")

    run = sim.run(order)
    assert abort(run.id, "late")
    sim.drain()

    assert [call.state for call in run.deferred.values()] == ["ABORTED", "ABORTED"]
    assert run.deferred["late"].run.state == "ABORTED"
    assert run.deferred["late"].run.passes == 0


def test_a_call_whose_parent_did_not_end_as_it_asked_is_dropped(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @shop.task
    def order(fails: bool) -> None:
        defer("receipt", mail, to="ada")
        defer("apology", mail.with_options(when="failure"), to="ada")
        if fails:
            raise GatewayDown

    good, bad = sim.run(order, fails=False), sim.run(order, fails=True)

    assert {id: call.state for id, call in good.deferred.items()} == {
        "receipt": "PUBLISHED",
        "apology": "DROPPED",
    }
    assert {id: call.state for id, call in bad.deferred.items()} == {
        "receipt": "DROPPED",
        "apology": "PUBLISHED",
    }
    assert bad.state == "FAILURE"


def test_a_call_that_was_published_at_once_is_shown_of_a_parent_that_fails_too(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @shop.task
    def order() -> None:
        defer("alarm", mail.with_options(when="now"), to="ada")
        raise GatewayDown

    run = sim.run(order)

    alarm = run.deferred["alarm"]
    assert (run.state, alarm.state, alarm.options.when) == ("FAILURE", "PUBLISHED", "now")
    assert alarm.payload == {"to": "ada"}


def test_a_call_in_a_batch_waits_for_it_and_has_its_run(shop: Celery, sim: Simulation) -> None:
    @deferred(shop, schema=OrderPlaced, batch=Batch(2, "5s"), concurrency=Concurrency(1))
    def track(orders: list[OrderPlaced]) -> list[str]:
        return [order.order_id for order in orders]

    @shop.task
    def parent() -> None:
        for id in ("o-1", "o-2", "o-3"):
            defer(id, track, order_id=id, at=MONDAY)

    calls = sim.run(parent).deferred
    sim.drain()

    assert [call.state for call in calls.values()] == ["PUBLISHED", "PUBLISHED", "BUFFERED"]
    assert calls["o-1"].run == calls["o-2"].run
    assert calls["o-1"].run.result == ["o-1", "o-2"]
    assert calls["o-1"].payload == [OrderPlaced(order_id="o-1", at=MONDAY)]
    sim.advance("5s")
    assert calls["o-3"].run.result == ["o-3"]


def test_a_function_with_a_batch_is_run_with_one_payload(shop: Celery, sim: Simulation) -> None:
    @deferred(shop, schema=OrderPlaced, batch=Batch(2, "5s"))
    def track(orders: list[OrderPlaced]) -> list[str]:
        return [order.order_id for order in orders]

    assert sim.run_deferred(track, order_id="o-1", at=MONDAY).result == ["o-1"]
