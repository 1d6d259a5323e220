"""What ``step.invoke`` cannot invoke, and the error that names the step."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import PayloadError, StepError, deferred, record, step
from celery_defer.errors import NotDeferredError
from celery_defer.testing import Simulation


@pytest.mark.parametrize("how", ["task", "app", "disabled://", "rpc://"])
def test_a_function_that_keeps_no_result_cannot_be_waited_for(
    app: Celery, sim: Simulation, how: str
) -> None:
    @deferred
    @app.task(shared=False, name="child", ignore_result=how == "task")
    def child() -> None: ...

    if how == "app":
        app.conf.task_ignore_result = True
        child.ignore_result = True

    @app.task(ignore_result=False)
    def parent() -> None:
        step.invoke("child", child)

    if how.endswith("://"):
        child.backend = Celery("other", backend=how, set_as_current=False).backend
    run = sim.run(parent)

    assert "step 'child' cannot wait for child, which keeps no result" in str(run.exception)
    assert sim.runs == [run]


def test_a_bad_payload_is_an_error_where_it_is_written(invoicing: Any, sim: Simulation) -> None:
    run = sim.run(invoicing, "much")

    assert isinstance(run.exception, PayloadError)
    assert sim.runs == [run]


def test_a_body_that_catches_a_refused_invocation_catches_it_in_each_turn(
    make_invoice: Any, app: Celery, sim: Simulation
) -> None:
    caught: list[str] = []

    @app.task
    def parent() -> str:
        try:
            step.invoke("invoice", make_invoice, total="much")
        except PayloadError as error:
            caught.append(str(error))
        step.sleep("nap", 60)
        return "done"

    run = sim.run(parent)
    sim.advance(61)

    assert app.AsyncResult(run.id).state == "SUCCESS"
    assert len(caught) == 2
    assert caught[0] == caught[1]
    assert {row.id: row.state for row in record(run.id).steps}["invoice"] == "failed"


def test_a_task_that_is_not_deferred_cannot_be_invoked(app: Celery, sim: Simulation) -> None:
    @app.task
    def plain() -> None: ...

    @app.task
    def parent() -> None:
        step.invoke("plain", plain)  # type: ignore[arg-type]

    assert isinstance(sim.run(parent).exception, NotDeferredError)


def test_an_answer_without_json_is_an_error_that_names_the_step(
    app: Celery, sim: Simulation
) -> None:
    @deferred
    @app.task(shared=False)
    def child() -> Any:
        return "text"

    @app.task
    def parent() -> int:
        child.run.__annotations__["return"] = int
        return step.invoke("child", child)  # type: ignore[no-any-return]

    run = sim.run(parent)
    sim.drain()

    assert isinstance(run.exception, StepError)
    assert "step 'child' has returned" in str(run.exception)


def test_a_bad_invocation_names_its_step(app: Celery, make_invoice: Any, sim: Simulation) -> None:
    @app.task
    def plain() -> None: ...

    @app.task
    def parent() -> list[str]:
        told = []
        for task, total in ((make_invoice, "much"), (plain, 1)):
            with pytest.raises((PayloadError, NotDeferredError)) as caught:
                step.invoke("invoice", task, total=total)
            told.append(str(caught.value))
            problems.append(getattr(caught.value, "problems", None))
        return told

    problems: list[Any] = []
    payload, unknown = sim.run(parent).result

    assert payload.startswith("step 'invoice': payload of make_invoice: total: ")
    assert "step 'invoice:1': " in unknown
    assert "is not a deferred function" in unknown
    assert len(problems[0]) == 1


def test_3_10_a_function_that_invokes_itself_ends(app: Celery, sim: Simulation) -> None:
    app.conf.defer_max_depth = 3

    @deferred(app)
    def again(n: int) -> int:
        return step.invoke("again", again, n + 1)  # type: ignore[no-any-return]

    @app.task
    def parent() -> int:
        return step.invoke("again", again, 1)

    run = sim.run(parent)
    sim.drain()

    assert len(sim.runs_of(again)) == 3
    assert str(run.exception).endswith(
        "ended with DepthError: step 'again': the run is 3 deferred runs deep; "
        "defer_max_depth is the limit"
    )


def test_a_payload_over_the_limit_is_not_sent(app: Celery, invoicing: Any, sim: Simulation) -> None:
    app.conf.defer_max_payload_bytes = 100
    run = sim.run(invoicing, "1." + "5" * 100)

    assert "defer_max_payload_bytes = 100 is the limit" in str(run.exception)
    assert sim.runs == [run]


def test_a_result_over_the_limit_fails_the_step_that_waits_for_it(
    app: Celery, sim: Simulation
) -> None:
    app.conf.defer_max_payload_bytes = 100

    @deferred(app, name="child")
    def child() -> str:
        return "x" * 99

    @app.task
    def parent() -> str:
        return step.invoke("child", child)

    run = sim.run(parent)
    sim.drain()

    assert type(run.exception) is StepError
    assert "step 'child' returned 101 bytes; defer_max_payload_bytes = 100" in str(run.exception)


def test_a_task_of_another_app_cannot_be_invoked(app: Celery, sim: Simulation) -> None:
    other = Celery("other", set_as_current=False)

    @deferred
    @other.task(name="elsewhere", shared=False)
    def elsewhere() -> None: ...

    @app.task
    def parent() -> None:
        step.invoke("elsewhere", elsewhere)

    error = sim.run(parent).exception

    assert isinstance(error, NotDeferredError)
    assert "step 'elsewhere': elsewhere belongs to another app" in str(error)
