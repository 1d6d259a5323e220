"""In a simulation limits hold runs back, and the clock lets them go on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from celery_defer import (
    Concurrency,
    Debounce,
    Priority,
    RateLimit,
    Singleton,
    Throttle,
    defer,
    deferred,
    step,
)
from celery_defer.testing import Simulation, SimulationError
from tests.support.inside import parent_of


@pytest.fixture
def sim(app: Celery) -> Iterator[Simulation]:
    with Simulation(app) as simulation:
        yield simulation


def calls_of(app: Celery, sim: Simulation, task: Any, *numbers: int) -> Any:
    """Return the calls of a parent that has deferred *task* with these numbers."""

    def parent() -> None:
        for n in numbers:
            defer(f"n{n}", task, n=n)

    return sim.run(parent_of(app, parent)).deferred


def test_a_throttled_run_is_held_until_its_time(app: Celery, sim: Simulation) -> None:
    @deferred(app, throttle=Throttle(1, "1m"), name="paced", shared=False)
    def paced(n: int) -> int:
        return n

    calls = calls_of(app, sim, paced, 1, 2, 3)
    sim.drain()
    assert [call.run.state for call in calls.values()] == ["SUCCESS", "HELD", "HELD"]

    sim.advance("1m")
    assert [call.run.state for call in calls.values()] == ["SUCCESS", "SUCCESS", "HELD"]

    sim.advance("1m")
    assert calls["n3"].run.result == 3


def test_a_run_with_a_distance_below_a_tenth_of_a_second_moves_the_clock(
    app: Celery, sim: Simulation
) -> None:
    @deferred(app, throttle=Throttle(20, 1), name="paced", shared=False)
    def paced(n: int) -> float:
        return float(app._celery_defer.clock())  # type: ignore[attr-defined]

    calls = calls_of(app, sim, paced, 1, 2)
    sim.drain()

    first, second = (call.run.result for call in calls.values())
    assert second - first == pytest.approx(0.05, abs=0.01)


def test_the_result_of_a_held_run_says_that_a_limit_holds_it_back(
    app: Celery, sim: Simulation
) -> None:
    @deferred(app, throttle=Throttle(1, "1m"), name="paced", shared=False)
    def paced(n: int) -> int:
        return n

    calls = calls_of(app, sim, paced, 1, 2)
    sim.drain()

    with pytest.raises(SimulationError, match="a limit holds it back"):
        _ = calls["n2"].run.result
    assert calls["n2"].run.waits_for is None


def test_the_last_call_of_a_debounce_runs_and_the_others_say_why_they_do_not(
    app: Celery, sim: Simulation
) -> None:
    @deferred(app, debounce=Debounce("30s"), name="last", shared=False)
    def last(n: int) -> int:
        return n

    calls = calls_of(app, sim, last, 1, 2)
    sim.advance("30s")

    assert [call.state for call in calls.values()] == ["REPLACED", "PUBLISHED"]
    assert calls["n1"].reason.startswith("its debounce")
    assert calls["n2"].run.result == 2


def test_a_dropped_run_has_the_state_and_the_reason(app: Celery, sim: Simulation) -> None:
    @deferred(app, rate_limit=RateLimit(1, "1h"), name="rated", shared=False)
    def rated(n: int) -> int:
        return n

    calls = calls_of(app, sim, rated, 1, 2)
    sim.drain()

    assert calls["n2"].state == "SKIPPED"
    assert calls["n2"].run.state == "SKIPPED"
    with pytest.raises(SimulationError, match="its rate limit"):
        _ = calls["n2"].run.result


def test_a_place_that_a_waiting_run_has_given_back_is_used_by_others(
    app: Celery, sim: Simulation
) -> None:
    @deferred(app, concurrency=Concurrency(1), name="napping", shared=False, acks_late=True)
    def napping(n: int) -> int:
        step.sleep("nap", 10)
        return n

    calls = calls_of(app, sim, napping, 1, 2)
    sim.drain()
    assert [call.run.state for call in calls.values()] == ["WAITING", "WAITING"]

    sim.advance(10)
    assert [call.run.result for call in calls.values()] == [1, 2]


def test_a_singleton_cancels_the_earlier_run(app: Celery, sim: Simulation) -> None:
    @deferred(
        app, singleton=Singleton(mode="cancel"), name="only", shared=False, acks_late=True
    )  # fmt: skip
    def only(n: int) -> int:
        step.sleep("nap", 10)
        return n

    calls = calls_of(app, sim, only, 1, 2)
    sim.advance(10)

    assert calls["n1"].run.state == "REVOKED"
    assert calls["n2"].run.result == 2


@pytest.mark.parametrize(
    ("idempotency", "days"), [("n", 1), (("n", timedelta(days=7)), 7)], ids=["usual", "7 days"]
)
def test_a_call_with_the_key_of_an_earlier_one_is_skipped_for_the_period(
    app: Celery, sim: Simulation, idempotency: Any, days: int
) -> None:
    @deferred(app, idempotency=idempotency, name="once", shared=False)
    def once(n: int) -> int:
        return n

    states = []
    for wait in (0, 1, 86_400 * days - 2, 2):
        sim.advance(wait)
        (call,) = calls_of(app, sim, once, 1).values()
        sim.drain()
        states.append(call.run.state)

    assert states == ["SUCCESS", "SKIPPED", "SKIPPED", "SUCCESS"]


def test_a_run_passes_those_before_it_by_its_priority(app: Celery, sim: Simulation) -> None:
    order: list[int] = []

    @deferred(
        app, throttle=Throttle(1, "1m"), priority=Priority(lambda call: 60 * (call["n"] == 4)),
        name="paced", shared=False,
    )  # fmt: skip
    def paced(n: int) -> None:
        order.append(n)

    calls_of(app, sim, paced, 1, 2, 3, 4)
    sim.drain()
    sim.advance("3m")

    assert order == [1, 4, 2, 3]


def test_a_body_that_a_test_replaces_has_the_limits_of_its_function(
    app: Celery, sim: Simulation
) -> None:
    @deferred(app, throttle=Throttle(1, "1m"), name="paced", shared=False)
    def paced(n: int) -> int:
        return n

    sim.answer_run(paced, 7)
    calls = calls_of(app, sim, paced, 1, 2)
    sim.drain()
    assert [call.run.state for call in calls.values()] == ["SUCCESS", "HELD"]

    sim.advance("1m")
    assert calls["n2"].run.result == 7
