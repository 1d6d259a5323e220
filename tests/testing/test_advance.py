"""``advance``: time passes, and each run that becomes due runs at its time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from celery_defer import defer, deferred, step
from celery_defer.testing import Simulation, Waiting
from tests.support.shop import MONDAY, GatewayDown


def test_advancing_runs_what_sleeps_at_its_time(shop: Celery, sim: Simulation) -> None:
    woke = []

    @shop.task
    def nap(name: str, duration: str) -> None:
        step.sleep("nap", duration)
        woke.append((name, sim.now - MONDAY))

    sim.run(nap, "long", "2d")
    short = sim.run(nap, "short", "1h")
    waits_for = short.waits_for
    sim.advance("3d")

    assert waits_for == Waiting("nap", "sleep", MONDAY + timedelta(hours=1))
    assert woke == [("short", timedelta(hours=1)), ("long", timedelta(days=2))]
    assert sim.now == MONDAY + timedelta(days=3)
    assert (short.state, short.waits_for, short.passes) == ("SUCCESS", None, 2)


def test_a_run_sleeps_until_its_very_moment(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def nap() -> None:
        step.sleep("nap", 60)

    run = sim.run(nap)
    sim.advance(59.5)
    before = run.state
    sim.advance(timedelta(seconds=0.5))

    assert (before, run.state) == ("WAITING", "SUCCESS")


@pytest.mark.parametrize("duration", [-5, -0.5, timedelta(seconds=-1)])
def test_time_does_not_go_back(sim: Simulation, duration: Any) -> None:
    with pytest.raises(ValueError, match=r"advance\(.*\): time does not go back"):
        sim.advance(duration)

    assert sim.now == MONDAY


@pytest.mark.parametrize("duration", ["7 days", None, float("nan")])
def test_what_is_no_duration_is_told_of_advance(sim: Simulation, duration: Any) -> None:
    with pytest.raises(ValueError, match=r"^advance\(.*\): give seconds, a timedelta, or text"):
        sim.advance(duration)


@pytest.mark.parametrize("now", [datetime(2030, 1, 7, 9), "2030-01-07T09:00:00Z"])
def test_a_time_without_a_zone_is_told_of_now(shop: Celery, now: Any) -> None:
    with pytest.raises(ValueError, match=r"^now=.*: give a datetime with a time zone"):
        Simulation(shop, now=now)


def test_a_countdown_is_counted_in_the_simulations_time(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @shop.task
    def order() -> None:
        defer("reminder", mail.with_options(countdown=3600), to="ada")

    reminder = sim.run(order).deferred["reminder"].run
    assert sim.drain() == []
    assert sim.advance("59m") == []

    assert sim.advance("1m") == [reminder]


def test_a_message_that_has_expired_does_not_run(shop: Celery, sim: Simulation, mail: Any) -> None:
    result = mail.apply_async(("ada",), expires=60)
    late = mail.apply_async(("ada",), expires=60, countdown=120)
    sim.drain()
    sim.advance("1h")

    assert (sim.find(result.id).state, sim.find(late.id).state) == ("SUCCESS", "REVOKED")
    assert late.state == "REVOKED"


def test_retries_of_celery_run_when_their_pause_is_over(shop: Celery, sim: Simulation) -> None:
    attempts = []

    @shop.task(autoretry_for=(GatewayDown,), retry_kwargs={"countdown": 60, "max_retries": 5})
    def charge() -> str:
        attempts.append(sim.now - MONDAY)
        if len(attempts) < 3:
            raise GatewayDown
        return "paid"

    run = sim.run(charge)
    before = run.state
    sim.advance("10m")

    assert (before, run.result, run.passes) == ("RETRY", "paid", 3)
    assert attempts == [timedelta(minutes=n) for n in range(3)]


def test_a_run_that_is_invoked_may_take_its_time(shop: Celery, sim: Simulation) -> None:
    @deferred
    @shop.task(name="slow")
    def slow(n: int) -> int:
        step.sleep("long", "90d")
        return 2 * n

    @shop.task
    def parent() -> int:
        return step.invoke("double", slow, 21)

    run = sim.run(parent)
    (child,) = run.children
    waits_for = run.waits_for
    sim.advance("90d")

    assert waits_for == Waiting("double", "run", None, run=child.id)
    assert (run.result, run.passes) == (42, 2)
