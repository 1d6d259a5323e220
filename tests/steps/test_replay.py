"""A replay reads each step's memo once, and finds a body that has taken another way."""

from __future__ import annotations

from itertools import count

import pytest
from celery import Celery
from pydantic_core import from_json

from celery_defer import StepError, step
from celery_defer.run import Memo
from celery_defer.steps.replay import Note, Replay
from celery_defer.testing import Simulation


def test_a_step_runs_once_in_a_run_and_again_in_the_next_run(app: Celery, sim: Simulation) -> None:
    calls = []

    @app.task
    def parent(n: int) -> int:
        answer = step.run("first", lambda: calls.append(n) or n)
        step.sleep("nap", 5)
        return answer

    one, two = sim.run(parent, 1), sim.run(parent, 2)
    sim.advance("1h")

    assert (one.result, two.result) == (1, 2)
    assert calls == [1, 2]


def test_a_memo_is_read_from_the_first_that_was_written() -> None:
    replay = Replay(memos={"a": Memo("1").pack()}, waits={"b": Note(2).pack()})

    found, note = replay.memo("a"), replay.note("b")

    assert found == Memo("1")
    assert note == Note(2)
    assert replay.memo("b") is None
    assert replay.note("a") is None


def test_the_release_before_reads_a_note() -> None:
    assert from_json(Note(1, 2, 3, 4, "sleep").pack()) == [1, 2, 3, 4, "sleep"]  # and no more


def test_a_body_that_waits_elsewhere_each_time_fails_and_says_so(
    app: Celery, sim: Simulation
) -> None:
    numbers = count()

    @app.task
    def parent() -> None:
        step.sleep(f"nap {next(numbers)}", 5)

    run = sim.run(parent)
    sim.advance("1h")

    assert run.state == "FAILURE"
    assert isinstance(run.exception, StepError)
    assert "has waited at step 'nap 2', and comes to 'nap 3' without it" in str(run.exception)


def test_a_new_version_of_a_body_may_wait_elsewhere_once(
    app: Celery, sim: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    versions = ["old", "new", "new", "new"]

    @app.task
    def parent() -> str:
        version = versions.pop(0)
        step.sleep(f"{version} nap", 5)
        step.sleep("another", 5)
        return version

    run = sim.run(parent)
    sim.advance("1h")

    assert run.result == "new"
    assert "has waited at step 'old nap', and comes to 'new nap' without it" in caplog.text


def test_a_wait_that_is_over_may_be_removed(app: Celery, sim: Simulation) -> None:
    turns = count()

    @app.task
    def parent() -> str:
        if next(turns) < 2:
            step.sleep("first", 5)
        step.sleep("second", 5)
        step.sleep("third", 5)
        return "done"

    run = sim.run(parent)
    sim.advance("1h")

    assert run.result == "done"


def test_another_attempt_of_the_task_may_take_another_way(app: Celery, sim: Simulation) -> None:
    @app.task(bind=True)
    def parent(self: object) -> str:
        step.sleep(f"nap {self.request.retries}", 5)  # type: ignore[attr-defined]
        if not self.request.retries:  # type: ignore[attr-defined]
            raise self.retry(countdown=0)  # type: ignore[attr-defined]
        return "rested"

    run = sim.run(parent)
    sim.advance("1h")

    assert run.result == "rested"
