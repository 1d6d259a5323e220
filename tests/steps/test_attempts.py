"""What the attempts of a task share: results of steps, and no failure that the body has caught."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import defer, step
from celery_defer.testing import Simulation
from tests.support.flaky import Declined, Flaky
from tests.support.inside import WatchedStore, Worker


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def charging(app: Celery, log: list[str]) -> Any:
    """Return a task that charges, logs a refusal in a step, waits, and raises the refusal again."""

    def charging(charge: Any) -> Any:
        @app.task(autoretry_for=(Declined,), default_retry_delay=1, max_retries=5, shared=False)
        def parent() -> int:
            try:
                return step.run("charge", charge)
            except Declined:
                step.run("log", log.append, "declined")
                step.sleep("pause", 5)
                raise

        return parent

    return charging


def test_a_failure_that_is_caught_and_raised_again_is_tried_again_by_the_next_attempt(
    sim: Simulation, charging: Any, log: list[str]
) -> None:
    charge = Flaky(*[Declined()] * 3)

    run = sim.run(charging(charge))
    sim.advance("1h")

    assert run.result == 4
    assert log == ["declined"]


def test_a_failure_that_is_caught_is_the_same_in_each_turn_of_its_attempt(
    app: Celery, sim: Simulation
) -> None:
    charge = Flaky(Declined())

    @app.task
    def parent() -> str:
        try:
            return f"charged {step.run('charge', charge)}"
        except Declined:
            step.sleep("one", 5)
            step.sleep("two", 5)
            return "unpaid"

    run = sim.run(parent)
    sim.advance("1h")

    assert (run.result, charge.calls) == ("unpaid", 1)


def test_an_outage_of_the_store_is_no_attempt_in_which_a_caught_failure_is_tried_again(
    app: Celery, worker: Worker, store: WatchedStore, log: list[str]
) -> None:
    charge = Flaky(Declined())

    def refund() -> None:
        log.append("refunded")
        store.away = {"turn"}

    @app.task
    def parent() -> str:
        try:
            return f"charged {step.run('charge', charge)}"
        except Declined:
            step.run("refund", refund)
            step.sleep("pause", 5)
            return "unpaid"

    run = worker.run(parent)
    assert run.state == "RETRY"
    store.away = set()
    worker.drain()
    worker.wake(5)

    assert (run.result, charge.calls, log) == ("unpaid", 1, ["refunded"])


def test_a_retry_after_an_outage_and_a_wait_tries_a_caught_failure_again(
    app: Celery, worker: Worker, store: WatchedStore, charging: Any, log: list[str]
) -> None:
    charge = Flaky(Declined(), Declined())
    store.away = {"turn"}

    run = worker.run(charging(charge))
    store.away = set()
    worker.drain()
    for _ in range(3):
        worker.wake(5)

    assert (run.result, log) == (3, ["declined"])


def test_a_step_that_is_finished_is_not_done_again_by_the_next_attempt(
    app: Celery, sim: Simulation, charging: Any
) -> None:
    charge, reserve = Flaky(*[Declined()] * 2), Flaky()

    @app.task(autoretry_for=(Declined,), default_retry_delay=1, max_retries=5)
    def parent() -> list[int]:
        return [step.run("reserve", reserve), step.run("charge", charge)]

    run = sim.run(parent)
    sim.advance("1h")

    assert run.result == [1, 3]


def test_what_a_failed_step_of_an_earlier_attempt_was_refused_is_told_once(
    app: Celery, sim: Simulation, ship: Any
) -> None:
    charge = Flaky(Declined())

    def refused() -> None:
        defer("ship", ship, "not a number")
        charge()

    @app.task(autoretry_for=(Declined,), default_retry_delay=1, max_retries=5)
    def parent() -> None:
        try:
            step.run("charge", refused)
        except Declined:
            step.run("log", int)
            raise

    run = sim.run(parent)
    sim.advance("1h")

    assert run.state == "SUCCESS"
    assert [call.id for call in run.skipped] == ["ship"]
