"""What a body does while it parks, and the arguments that it is given again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from contextvars import copy_context
from datetime import datetime, timezone
from typing import Any

import pytest
from celery import Celery
from kombu import disable_insecure_serializers, enable_insecure_serializers

from celery_defer import NoRunError, StepError, defer, step
from celery_defer.testing import Simulation
from tests.support.inside import Worker


@pytest.fixture
def pickles(app: Celery) -> Iterator[None]:
    app.conf.accept_content = ["json", "pickle"]
    enable_insecure_serializers(["pickle"])
    yield
    disable_insecure_serializers(["json"])


def test_a_thread_that_parks_unseen_parks_the_run_all_the_same(
    app: Celery, sim: Simulation
) -> None:
    passes = []

    def nap() -> None:
        with suppress(BaseException):
            step.sleep("nap", 5)

    @app.task
    def parent() -> str:
        passes.append(1)
        thread = threading.Thread(target=copy_context().run, args=(nap,))
        thread.start()
        thread.join()
        return "awake"

    run = sim.run(parent)
    assert run.state == "WAITING"
    sim.advance(5)

    assert run.result == "awake"
    assert len(passes) == 2


@pytest.mark.parametrize("raises", [False, True])
def test_a_body_that_swallows_everything_parks_all_the_same(
    app: Celery, sim: Simulation, ship: Any, raises: bool
) -> None:
    @app.task
    def parent() -> str:
        try:
            step.sleep("nap", 5)
        except BaseException:
            if raises:
                raise ValueError from None
            with suppress(NoRunError):
                defer("swallowed", ship, 1)
        return "awake"

    run = sim.run(parent)
    assert run.state == "WAITING"
    assert sim.runs == [run]
    sim.advance(5)

    assert run.result == "awake"


def test_a_body_that_returns_in_finally_parks_all_the_same(app: Celery, sim: Simulation) -> None:
    passes = []

    @app.task
    def parent() -> int:
        try:
            step.sleep("nap", 5)
        finally:
            passes.append(1)
            return len(passes)  # noqa: B012

    run = sim.run(parent)
    assert run.state == "WAITING"
    sim.advance(5)

    assert run.result == 2


def test_a_body_that_has_parked_begins_no_further_step(app: Celery, sim: Simulation) -> None:
    calls = []

    @app.task
    def parent() -> None:
        with suppress(BaseException):
            step.sleep("nap", 5)
        step.run("next", calls.append, 1)

    run = sim.run(parent)
    assert calls == []
    sim.advance(5)

    assert run.state == "SUCCESS"
    assert calls == [1]


def test_a_context_manager_of_the_body_is_left_when_it_parks(app: Celery, sim: Simulation) -> None:
    left = []

    @app.task
    def parent() -> None:
        try:
            step.sleep("nap", 5)
        except Exception:
            left.append("caught")
        finally:
            left.append("left")

    sim.run(parent)
    sim.advance("1h")

    assert left == ["left", "left"]


@pytest.mark.usefixtures("store")
def test_arguments_without_json_cannot_be_parked(app: Celery, worker: Worker) -> None:
    @app.task
    def parent(thing: Any) -> None:
        step.sleep("nap", 5)

    result = worker.perform(parent, object())

    assert f"step 'nap' cannot park run {result.id}: its arguments are not JSON" in str(
        result.result
    )


def test_arguments_of_celerys_json_come_back_as_they_were(app: Celery, sim: Simulation) -> None:
    seen = []

    @app.task
    def parent(*args: Any, **kwargs: Any) -> None:
        seen.append((args, kwargs))
        step.sleep("nap", 5)

    at = datetime(2030, 1, 1, tzinfo=timezone.utc)
    message = (b"\xff", at, {"a": [at]}, 2**60)
    run = sim.run(parent, *message, key=b"\x00")
    sim.advance("1h")

    assert run.state == "SUCCESS"
    assert seen == [(message, {"key": b"\x00"})] * 2


def test_a_body_that_changes_its_arguments_is_given_the_same_ones_in_each_turn(
    app: Celery, sim: Simulation
) -> None:
    @app.task
    def parent(items: list[int], seen: dict[str, int]) -> list[int]:
        done = []
        while items:
            item = items.pop()
            seen[str(item)] = item
            done.append(step.run("do", int, item))
            step.sleep("rest", 1)
        return [*done, len(seen)]

    run = sim.run(parent, [1, 2, 3], {"0": 0})
    sim.advance("1h")

    assert run.result == [3, 2, 1, 4]


@pytest.mark.parametrize(
    "given", [{1: "a"}, (1, [2]), {"at": (1, 2)}],
    ids=["keys", "a tuple", "a tuple inside"],
)  # fmt: skip
def test_arguments_of_a_pickle_that_json_would_change_are_refused(
    app: Celery, pickles: None, sim: Simulation, given: object
) -> None:
    @app.task(serializer="pickle")
    def parent(by: Any) -> None:
        step.sleep("nap", 5)

    run = sim.run(parent, given)

    assert run.state == "FAILURE"
    with pytest.raises(StepError, match=r"step 'nap' cannot park run .*serializer 'json'"):
        assert run.result


@pytest.mark.parametrize("acks_late", [False, True])
def test_a_task_that_waits_says_once_that_a_kill_loses_it_unless_acks_late(
    app: Celery, sim: Simulation, caplog: pytest.LogCaptureFixture, acks_late: bool
) -> None:
    @app.task(name=f"waits, {acks_late=}", acks_late=acks_late)
    def parent() -> None:
        step.sleep("nap", 5)
        step.sleep("another", 5)

    sim.run(parent)
    sim.run(parent)
    sim.advance(60)
    warnings = [text for text in caplog.messages if text.startswith("waits, acks_late=False waits")]

    assert len(warnings) == (0 if acks_late else 1)
