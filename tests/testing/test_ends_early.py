"""Runs that an event cancels, or that take too long, in a simulation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from celery import Celery
from pydantic import BaseModel

from celery_defer import CancelOn, Event, Timeouts, defer, deferred, step
from celery_defer.signals import run_aborted
from celery_defer.testing import Simulation


class OrderCancelled(BaseModel):
    order_id: int


CANCELLED = Event("order/cancelled", OrderCancelled)


def ship(shop: Celery, **options: Any) -> Any:
    """A function whose runs wait for three days at a step."""

    @deferred(shop, name="ship", **options)
    def ship(order_id: int) -> str:
        step.sleep("packing", "3d")
        return step.run("send", lambda: f"sent {order_id}")

    return ship


def test_an_event_ends_the_parked_runs_with_its_values(shop: Celery, sim: Simulation) -> None:
    task = ship(shop, cancel_on=[CancelOn(CANCELLED, match={"order_id": "order_id"})])
    mine, other = (sim.run_deferred(task, order_id=number) for number in (7, 8))

    sent = sim.send_event(CANCELLED, {"order_id": 7})
    sim.advance("3d")

    assert (sent, sent.cancelled) == (0, 1)
    assert (mine.state, other.state) == ("REVOKED", "SUCCESS")
    assert mine.steps == {}


def test_an_event_that_was_sent_before_the_run_arrived_counts(
    shop: Celery, sim: Simulation
) -> None:
    task = ship(shop, cancel_on=[CancelOn("order/cancelled", {"order_id": "order_id"})])

    @shop.task
    def order() -> None:
        for number in (7, 8):
            defer(f"ship {number}", task, order_id=number)

    sim.send_event("order/cancelled", {"order_id": 8})  # before they were deferred
    parent = sim.run(order)
    sim.send_event("order/cancelled", {"order_id": 7})
    sim.drain()

    states = [parent.deferred[f"ship {number}"].run.state for number in (7, 8)]
    assert states == ["REVOKED", "WAITING"]


def test_an_event_counts_for_as_long_after_the_call_as_was_said(
    shop: Celery, sim: Simulation
) -> None:
    cancel = CancelOn("order/cancelled", {"order_id": "order_id"}, timeout="1h")
    task = ship(shop, cancel_on=[cancel])
    soon, late = (sim.run_deferred(task, order_id=number) for number in (7, 8))

    sim.advance("59m")
    first = sim.send_event("order/cancelled", {"order_id": 7})
    sim.advance("2m")
    second = sim.send_event("order/cancelled", {"order_id": 8})

    assert (first.cancelled, second.cancelled) == (1, 0)
    assert (soon.state, late.state) == ("REVOKED", "WAITING")


def test_an_event_lets_a_body_in_progress_begin_no_further_step(
    shop: Celery, sim: Simulation
) -> None:
    done = []

    @deferred(shop, cancel_on=[CancelOn("stop")])
    def work() -> None:
        step.run("one", lambda: done.append("one"))
        step.send_event("itself", "stop")
        step.run("two", lambda: done.append("two"))

    run = sim.run_deferred(work)

    assert (run.state, done) == ("REVOKED", ["one"])


def test_a_run_that_has_ended_is_cancelled_by_nothing(shop: Celery, sim: Simulation) -> None:
    @deferred(shop, cancel_on=[CancelOn("stop")], timeouts=Timeouts(finish="1h"))
    def work() -> str:
        return "done"

    run = sim.run_deferred(work)
    sent = sim.send_event("stop")
    sim.advance("2h")

    assert (run.state, sent.cancelled) == ("SUCCESS", 0)


def test_a_run_that_takes_too_long_with_its_waits_ends(shop: Celery, sim: Simulation) -> None:
    heard: list[Any] = []
    run_aborted.connect(lambda **facts: heard.append(facts), weak=False, dispatch_uid="here")
    task = ship(shop, timeouts=Timeouts(finish=timedelta(hours=36)))

    run = sim.run_deferred(task, order_id=7)
    sim.advance("35h")
    before = run.state
    sim.advance("1h")
    run_aborted.disconnect(dispatch_uid="here")

    assert (before, run.state) == ("WAITING", "REVOKED")
    assert [facts["reason"] for facts in heard] == ["not finished within 1d12h"]


def test_a_run_that_arrives_late_does_not_start(shop: Celery, sim: Simulation) -> None:
    began = []

    @deferred(shop, timeouts=Timeouts(start="10m"))
    def quote(order_id: int) -> None:
        began.append(order_id)

    @shop.task
    def order() -> None:
        defer("soon", quote.with_options(countdown=599), order_id=1)
        defer("late", quote.with_options(countdown=601), order_id=2)

    parent = sim.run(order)
    sim.advance("1h")

    assert began == [1]
    assert parent.deferred["late"].run.state == "REVOKED"


def test_a_run_that_has_begun_in_time_may_be_retried_later(shop: Celery, sim: Simulation) -> None:
    tries = []

    @deferred(shop, bind=True, timeouts=Timeouts(start="10m"))
    def quote(self: Any) -> None:
        tries.append(self.request.retries)
        if len(tries) == 1:
            raise self.retry(countdown=3_600)

    run = sim.run_deferred(quote)
    sim.advance("2h")

    assert (tries, run.state) == ([0, 1], "SUCCESS")


def test_a_retry_that_comes_after_the_deadline_does_not_start(
    shop: Celery, sim: Simulation
) -> None:
    tries = []

    @deferred(shop, bind=True, timeouts=Timeouts(finish="30m"))
    def quote(self: Any) -> None:
        tries.append(self.request.retries)
        raise self.retry(countdown=3_600)

    run = sim.run_deferred(quote)
    sim.advance("2h")

    assert (tries, run.state) == ([0], "REVOKED")
