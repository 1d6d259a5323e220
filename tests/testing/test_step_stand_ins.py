"""``answer_step`` and ``fail_step``: what takes the place of a step's function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

from celery_defer import RetryAfter, StepError, step
from celery_defer.testing import Simulation, SimulationError
from tests.support.shop import MONDAY, GatewayDown, OrderPlaced, charge


def test_a_step_is_called_once_over_all_passes(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def follow() -> None:
        step.run("charge", int)
        step.sleep("nap", 60)
        step.run("ship", int)

    run = sim.run(follow)
    before = run.steps
    sim.advance(60)

    assert before == {"charge": 1}
    assert run.steps == {"charge": 1, "ship": 1}


def test_a_step_fails_as_often_as_the_test_says(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def order() -> int:
        return step.run("charge", int, "12", retries=3)

    sim.fail_step("charge", GatewayDown("no answer"), times=2)
    run = sim.run(order)
    waits_for = run.waits_for
    sim.advance("1m")

    assert waits_for is not None
    assert (waits_for.step, waits_for.kind) == ("charge", "retry")
    assert (run.result, run.steps) == (12, {"charge": 3})


def test_a_step_that_always_fails_uses_up_its_tries(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def order() -> str:
        try:
            return str(step.run("charge", int, retries=1))
        except StepError as error:
            return repr(error.__cause__)

    sim.fail_step("charge", RetryAfter("1h"), times=None)
    run = sim.run(order)
    sim.advance("1h")

    assert (run.result, run.steps) == ("RetryAfter('1h')", {"charge": 2})


def test_a_step_fails_in_runs_of_one_task_only(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def one() -> int:
        return step.run("charge", int)

    @shop.task
    def other() -> int:
        return step.run("charge", int)

    sim.fail_step("charge", GatewayDown, task=other)

    assert sim.run(one).result == 0
    with pytest.raises(GatewayDown):
        assert sim.run(other).result


def test_a_step_has_the_tests_answer_and_its_function_is_not_called(
    shop: Celery, sim: Simulation
) -> None:
    @shop.task
    def order() -> str:
        charged = step.run("charge", charge)
        step.sleep("nap", 60)
        return charged

    sim.answer_step("charge", "ch_1")
    run, other = sim.run(order), sim.run(order)
    sim.advance("1m")

    assert (run.result, other.result) == ("ch_1", "ch_1")
    assert (run.steps, run.passes) == ({"charge": 1}, 2)


def test_an_answer_goes_through_json_by_the_type_that_the_function_answers(
    shop: Celery, sim: Simulation
) -> None:
    got = []

    def place() -> OrderPlaced:
        raise GatewayDown

    @shop.task
    def order() -> None:
        got.extend([step.run("place", place), step.run("count", sum, [])])

    answer = OrderPlaced(order_id="o-1", at=MONDAY)
    sim.answer_step("place", answer)
    sim.answer_step("count", (1, 2))

    assert sim.run(order).state == "SUCCESS"
    assert got == [answer, [1, 2]]
    assert got[0] is not answer


@pytest.mark.parametrize("wrong", [7, {"id": "ch_1"}, object()])
def test_an_answer_that_the_function_could_not_give_fails_the_run(
    shop: Celery, sim: Simulation, wrong: Any
) -> None:
    @shop.task
    def order() -> str:
        return step.run("charge", charge, retries=3)

    sim.answer_step("charge", wrong)

    with pytest.raises(StepError, match=rf"'charge' returned .*{type(wrong).__name__}"):
        assert sim.run(order).result


def test_an_answer_for_so_many_times_is_used_up(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def order() -> str:
        return step.run("charge", charge)

    sim.answer_step("charge", "ch_1", times=1)
    sim.answer_step("charge", "ch_2", times=1)

    assert [sim.run(order).result, sim.run(order).result] == ["ch_1", "ch_2"]
    with pytest.raises(GatewayDown, match="the real one"):
        assert sim.run(order).result


@pytest.mark.parametrize("fails_first", [True, False])
def test_a_step_fails_so_often_and_then_has_its_answer_in_whatever_order_that_was_said(
    shop: Celery, sim: Simulation, fails_first: bool
) -> None:
    @shop.task
    def order() -> str:
        return step.run("charge", charge, retries=3)

    said: list[Callable[[], None]] = [
        lambda: sim.fail_step("charge", GatewayDown("no answer"), times=2),
        lambda: sim.answer_step("charge", "ch_1"),
    ]
    for say in said if fails_first else reversed(said):
        say()
    run = sim.run(order)
    sim.advance("1m")

    assert (run.result, run.steps) == ("ch_1", {"charge": 3})


def test_a_test_says_otherwise_than_its_fixtures(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def order() -> str:
        return step.run("charge", charge)

    sim.answer_step("charge", "of a fixture")
    sim.answer_step("charge", "of the test")

    assert sim.run(order).result == "of the test"


def test_a_step_is_answered_in_runs_of_one_task_only(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def one() -> int:
        return step.run("charge", int)

    @shop.task
    def other() -> int:
        return step.run("charge", int)

    sim.answer_step("charge", 7, task=other)

    assert (sim.run(one).result, sim.run(other).result) == (0, 7)


def test_a_step_of_an_eager_run_is_answered_too(shop: Celery, sim: Simulation) -> None:
    @shop.task
    def order() -> str:
        return step.run("charge", charge)

    sim.answer_step("charge", "ch_1")

    assert order.apply().get() == "ch_1"


def test_a_step_that_sends_an_event_sends_none_if_it_is_answered(
    shop: Celery, sim: Simulation
) -> None:
    @shop.task
    def follow() -> bool:
        return step.wait_for_event("shipped", "order/shipped", timeout="1h") is None

    @shop.task
    def order() -> int:
        return step.send_event("tell", "order/shipped")

    sim.answer_step("tell", 3)
    waiting = sim.run(follow)

    assert sim.run(order).result == 3
    assert sim.drain() == []
    assert sim.events == []
    assert waiting.state == "WAITING"


@pytest.mark.parametrize("said", ["fail_step", "answer_step"])
def test_what_was_said_of_a_step_that_did_not_run_is_told(shop: Celery, said: str) -> None:
    @shop.task
    def order() -> int:
        return step.run("charge", int)

    simulation = Simulation(shop)
    told = rf"{said}\('chrge'\): .*there were \['charge'\]"
    with pytest.raises(SimulationError, match=told), simulation:
        _ = (getattr(simulation, said)("chrge", GatewayDown), simulation.run(order))


@pytest.mark.parametrize("said", ["fail_step", "answer_step"])
@pytest.mark.parametrize("name", ["nap", "answer", "mail"])
def test_what_was_said_of_a_step_without_a_function_is_told_as_such(
    shop: Celery, mail: Any, name: str, said: str
) -> None:
    @shop.task
    def order() -> None:
        step.sleep("nap", 60)
        step.wait_for_event("answer", "answered", timeout="1h")
        step.invoke("mail", mail, "ada")

    simulation = Simulation(shop)
    told = rf"{said}\('{name}'\): this step has no function"
    with pytest.raises(SimulationError, match=told), simulation:
        _ = (
            getattr(simulation, said)(name, GatewayDown),
            simulation.run(order),
            simulation.advance("2h"),
        )


def test_a_failure_of_another_tasks_step_without_a_function_is_no_such_step(shop: Celery) -> None:
    @shop.task
    def order() -> None:
        step.sleep("nap", 60)

    @shop.task
    def other() -> None: ...

    simulation = Simulation(shop)
    with pytest.raises(SimulationError, match="no such step has run"), simulation:
        _ = (simulation.fail_step("nap", GatewayDown, task=other), simulation.run(order))


@pytest.mark.parametrize("error", ["no answer", None, int])
def test_a_step_fails_with_an_exception_only(sim: Simulation, error: Any) -> None:
    with pytest.raises(TypeError, match=r"fail_step\('charge'\): .* is not an exception"):
        sim.fail_step("charge", error)


@pytest.mark.parametrize("times", [0, -1, 0.5, "2"])
def test_a_step_fails_at_least_once(sim: Simulation, times: Any) -> None:
    with pytest.raises(ValueError, match=r"fail_step\('charge'\): times=.*give 1 or more"):
        sim.fail_step("charge", GatewayDown, times=times)


def test_a_task_is_not_given_by_its_name(sim: Simulation, mail: Any) -> None:
    told = r"'mail' is not a task: give the task itself, or app.tasks\[…\]"

    with pytest.raises(TypeError, match=told):
        sim.fail_step("charge", GatewayDown, task=mail.name)
    with pytest.raises(TypeError, match=told):
        sim.answer_step("charge", 7, task=mail.name)
    with pytest.raises(TypeError, match=told):
        sim.answer_run(mail.name, 7)
    with pytest.raises(TypeError, match=told):
        sim.runs_of(mail.name)
