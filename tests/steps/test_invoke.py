"""A step that runs a deferred function as a run of its own, and waits for its end."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from celery import Celery
from pydantic import BaseModel

from celery_defer import current_run, defer, deferred, step
from celery_defer.testing import Simulation
from tests.support.inside import Worker


class Invoice(BaseModel):
    id: UUID
    total: Decimal
    raw: bytes = b"\xff\x00"


def test_an_invocation_answers_the_result_of_its_run(invoicing: Any, sim: Simulation) -> None:
    run = sim.run(invoicing)
    assert run.state == "WAITING"
    sim.drain()

    assert run.result == {"total": "1.50"}


def test_an_invocation_begins_one_run_and_answers_the_same_in_each_pass(
    app: Celery, make_invoice: Any, sim: Simulation
) -> None:
    answers = []

    @app.task
    def parent() -> None:
        answers.append(step.invoke("invoice", make_invoice, total=1))
        step.sleep("nap", 5)

    run = sim.run(parent)
    sim.advance("1h")

    assert len(run.children) == 1
    assert answers == [{"total": "1"}] * 2


def test_a_waiting_run_tells_which_run_it_waits_for(
    app: Celery, invoicing: Any, sim: Simulation
) -> None:
    run = sim.run(invoicing)
    (child,) = run.children

    assert app.AsyncResult(run.id).info == {
        "step": "invoice",
        "waiting_for": "run",
        "run": child.id,
        "task": "make_invoice",
        "until": None,
    }


def test_an_invoked_run_is_linked_to_its_invoker(app: Celery, sim: Simulation) -> None:
    runs = []

    @deferred
    @app.task(shared=False)
    def child() -> None:
        runs.append(current_run())

    @app.task
    def parent() -> str:
        step.invoke("child", child)
        step.sleep("nap", 5)
        return current_run().id

    invoker = sim.run(parent)
    sim.advance("1h")

    (run,) = runs
    assert run.parent is not None
    assert (run.parent.id, run.root_id) == (invoker.id, invoker.id)
    assert [each.id for each in app.AsyncResult(invoker.id).children] == [run.id]


def test_the_children_of_a_waiting_run_are_no_raw_lists(
    app: Celery, invoicing: Any, sim: Simulation
) -> None:
    """Celery reads children as results only of a run that has ended."""
    run = sim.run(invoicing)
    while_waiting = app.AsyncResult(run.id).children
    sim.drain()

    assert while_waiting == []
    assert [child.id for child in app.AsyncResult(run.id).children] == [run.children[0].id]


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Decimal, Decimal("1.50")),
        (datetime, datetime(2030, 1, 1, tzinfo=timezone.utc)),
        (UUID, UUID(int=1)),
        (bytes, b"\xff\x00"),
        (bytes, b"abcd"),
        (float, float("inf")),
        (list[datetime], [datetime(2030, 1, 1, tzinfo=timezone.utc)]),
        (int, 2**70),
        (None, None),
    ],
)
def test_the_result_has_the_type_that_the_function_is_annotated_with(
    app: Celery, sim: Simulation, annotation: Any, value: Any
) -> None:
    def child() -> Any:
        return value

    child.__annotations__["return"] = annotation
    task = deferred(app.task(shared=False)(child))
    answers = []

    @app.task
    def parent() -> None:
        answers.append(step.invoke("child", task))
        step.sleep("nap", 5)

    sim.run(parent)
    sim.advance("1h")

    assert answers == [value, value]
    assert type(answers[0]) is type(value)


def test_a_model_comes_back_as_a_model(app: Celery, sim: Simulation) -> None:
    @deferred
    @app.task(shared=False)
    def child() -> Invoice:
        return Invoice(id=UUID(int=1), total=Decimal("1.50")).model_dump()  # type: ignore[return-value]

    answers = []

    @app.task
    def parent() -> None:
        answers.append(step.invoke("child", child))

    sim.run(parent)
    sim.drain()

    assert answers == [Invoice(id=UUID(int=1), total=Decimal("1.50"))]


@pytest.mark.usefixtures("store")
def test_an_invoked_run_goes_by_its_options(app: Celery, make_invoice: Any, worker: Worker) -> None:
    @app.task
    def parent() -> None:
        options = make_invoice.with_options(priority=3, headers={"x": "y"}, when="failure")
        step.invoke("invoice", options, total=1)

    worker.run(parent)
    (message,) = worker.published()

    assert message.headers["x"] == "y"
    assert message.properties["priority"] == 3


def test_each_of_several_invocations_is_a_run_of_its_own(
    app: Celery, make_invoice: Any, sim: Simulation
) -> None:
    @app.task
    def parent() -> list[Any]:
        return [step.invoke("invoice", make_invoice, total=n)["total"] for n in range(3)]

    run = sim.run(parent)
    sim.drain()

    assert run.result == ["0", "1", "2"]


def test_an_invocation_may_have_the_id_of_a_call(
    app: Celery, make_invoice: Any, ship: Any, sim: Simulation
) -> None:
    @app.task
    def parent() -> str:
        step.invoke("same", make_invoice, total=1)
        return defer("same", ship, 7).id

    run = sim.run(parent)
    sim.drain()

    assert sim.find(run.result).result == 7


def test_an_invocation_and_a_call_of_any_id_are_two_runs(app: Celery, sim: Simulation) -> None:
    @deferred
    @app.task(shared=False, name="child")
    def child(n: int) -> int:
        return n

    @app.task(shared=False)
    def parent() -> int:
        for id in ("x", "step:x"):
            defer(id, child, n=1)
        return step.invoke("x", child, n=2)

    run = sim.run(parent)
    sim.drain()

    assert run.result == 2
    assert len({child.id for child in app.AsyncResult(run.id).children}) == 3
