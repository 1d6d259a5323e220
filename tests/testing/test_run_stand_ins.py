"""``answer_run`` and ``fail_run``: what takes the place of a task's body."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, Task

from celery_defer import StepError, defer, deferred, step
from celery_defer.testing import Simulation, SimulationError
from tests.support.shop import GatewayDown


@pytest.fixture
def backup(shop: Celery) -> Any:
    @deferred
    @shop.task(name="backup", autoretry_for=(GatewayDown,), retry_kwargs={"countdown": 60})
    def backup(disk: str) -> int:
        raise ZeroDivisionError("the real one was called")

    return backup


def test_a_run_has_the_tests_answer_and_its_body_does_not_run(
    shop: Celery, sim: Simulation, backup: Any
) -> None:
    @shop.task
    def nightly() -> int:
        defer("other", backup, disk="b")
        return step.invoke("backup", backup, disk="a")

    sim.answer_run(backup, 5)
    run, alone, sent = sim.run(nightly), sim.run_deferred(backup, disk="c"), backup.delay("d")
    sim.drain()

    assert (run.result, alone.result, sent.get()) == (5, 5, 5)
    assert run.deferred["other"].run.result == 5


def test_a_run_that_is_answered_for_has_its_payload_checked(
    sim: Simulation, mail: Any, shop: Celery
) -> None:
    @shop.task
    def order() -> None:
        defer("receipt", mail, to=7)

    sim.answer_run(mail, "sent")
    run = sim.run(order)

    assert sim.run(mail, "ada").result == "sent"
    assert run.deferred["receipt"].state == "SKIPPED"


def test_a_run_is_answered_for_so_many_times_and_then_has_its_body_again(
    sim: Simulation, mail: Any
) -> None:
    sim.answer_run(mail, "sent", times=1)
    answers = [sim.run(mail, "ada").result, sim.run(mail, "ada").result]

    assert answers == ["sent", "mail to ada"]


def test_a_run_fails_in_place_of_its_body_and_is_tried_again_as_its_task_says(
    shop: Celery, sim: Simulation, backup: Any
) -> None:
    @shop.task
    def nightly() -> int:
        return step.invoke("backup", backup, disk="a")

    sim.fail_run(backup, GatewayDown("no answer"))
    sim.answer_run(backup, 5)
    run = sim.run(nightly)
    sim.drain()
    before = run.children[0].state
    sim.advance("1m")

    assert (before, run.children[0].passes, run.result) == ("RETRY", 2, 5)


def test_the_invoker_of_a_run_that_fails_receives_that(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @shop.task
    def order() -> str:
        try:
            return step.invoke("mail", mail, to="ada")
        except StepError as error:
            return str(error)

    sim.fail_run(mail, GatewayDown("no answer"))
    run = sim.run(order)
    sim.drain()

    assert "no answer" in run.result


def test_a_body_that_is_called_by_its_task_is_answered_for_too(
    shop: Celery, sim: Simulation
) -> None:
    class Counted(Task):
        calls = 0

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            type(self).calls += 1
            return super().__call__(*args, **kwargs)

    @shop.task(base=Counted, bind=True)
    def count(self: Any, n: int) -> int:
        return n + len(self.name)

    sim.answer_run(count, 5, times=1)
    answered, real = sim.run(count, 7), sim.run(count, 7)

    assert (answered.result, real.result) == (5, 7 + len(count.name))
    assert type(shop.tasks[count.name]).calls == 2


@pytest.mark.parametrize("said", ["fail_run", "answer_run"])
def test_what_was_said_of_a_run_that_did_not_begin_is_told(
    shop: Celery, mail: Any, said: str
) -> None:
    @shop.task(name="order")
    def order() -> None: ...

    simulation = Simulation(shop)
    told = rf"{said}\(mail\): no such run has begun since; there were runs of \['order'\]"
    with pytest.raises(SimulationError, match=told), simulation:
        _ = (getattr(simulation, said)(mail, GatewayDown), simulation.run(order))
