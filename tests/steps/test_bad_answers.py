"""What a step cannot keep: no JSON, too large, of another type; the error names the step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery

from celery_defer import StepError, step
from celery_defer.testing import Simulation


class Unknown:
    """No type of pydantic's, and not JSON."""


def wrong() -> int:
    return "three"  # type: ignore[return-value]


def unknown() -> Unknown:
    return Unknown()


def gathered() -> Iterator[int]:
    yield object()  # type: ignore[misc]


def a_set() -> Any:
    return {object()}


def loop() -> Any:
    rows: list[Any] = []
    rows.append(rows)
    return rows


async def later() -> int:
    return 1


@pytest.mark.parametrize("fn", [unknown, a_set, loop, later, Unknown, wrong, gathered])
def test_what_is_not_json_fails_the_step_by_name(
    app: Celery, sim: Simulation, fn: Callable[[], Any]
) -> None:
    @app.task
    def parent() -> None:
        step.run("first", fn)

    run = sim.run(parent)
    error = app.AsyncResult(run.id).result

    assert run.state == "FAILURE"
    assert isinstance(error, StepError)
    assert "step 'first' returned" in str(error)
    assert error.step == "first"


def test_an_answer_over_the_limit_fails_the_step_by_name(app: Celery, sim: Simulation) -> None:
    app.conf.defer_max_payload_bytes = 100

    @app.task
    def parent() -> str:
        step.run("fits", lambda: "x" * 98)
        try:
            step.run("large", lambda: "ß" * 50)
        except StepError as error:
            return f"{error.step}: {error}"
        return "no error"

    result = sim.run(parent).result

    assert result.startswith("large: step 'large' returned 102 bytes; defer_max_payload_bytes")


@pytest.mark.parametrize("fn", [a_set, lambda: "x" * 200])
def test_an_answer_that_cannot_be_kept_is_not_made_again_by_retries(
    app: Celery, sim: Simulation, fn: Callable[[], Any]
) -> None:
    app.conf.defer_max_payload_bytes = 100
    charged = []

    def charge() -> Any:
        charged.append(1)
        return fn()

    @app.task
    def parent() -> None:
        step.run("charge", charge, retries=3)

    run = sim.run(parent)
    sim.advance("1h")

    assert charged == [1]
    assert isinstance(run.exception, StepError)
    assert "step 'charge' returned" in str(run.exception)


def test_a_model_that_has_changed_since_is_an_error_that_names_the_step(
    app: Celery, sim: Simulation
) -> None:
    passes = []

    def old() -> str:
        return "text"

    def new() -> int:
        return 1

    @app.task
    def parent() -> None:
        passes.append(1)
        step.run("first", old if len(passes) == 1 else new)
        step.sleep("nap", 5)

    run = sim.run(parent)
    sim.advance("1h")

    assert isinstance(run.exception, StepError)
    assert "step 'first' has returned \"text\"" in str(run.exception)


def test_an_answer_of_another_type_is_not_said_to_be_no_json(app: Celery, sim: Simulation) -> None:
    @app.task
    def parent() -> None:
        step.run("first", wrong)

    error = str(sim.run(parent).exception)

    assert "step 'first' returned str 'three', which is not what its function is annotated" in error
    assert "not JSON" not in error


def neither() -> int:
    return object()  # type: ignore[return-value]


def test_an_answer_without_json_is_said_to_be_none_whatever_the_annotation(
    app: Celery, sim: Simulation
) -> None:
    @app.task
    def parent() -> None:
        step.run("first", neither)

    assert "which is not JSON" in str(sim.run(parent).exception)
