"""Ids of steps: any text, and a repeated one is numbered."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import IdError, NoRunError, step
from celery_defer.steps.replay import Replay
from celery_defer.testing import Simulation


def test_a_repeated_id_is_numbered_in_order(app: Celery, sim: Simulation) -> None:
    calls, answers = list[int](), list[list[int]]()

    def note(n: int) -> int:
        calls.append(n)
        return n * 10

    @app.task
    def parent() -> None:
        found = []
        answers.append(found)
        for n in range(3):
            found.append(step.run("one", note, n))
            step.sleep("nap", 5)

    sim.run(parent)
    sim.advance("1h")

    assert calls == [0, 1, 2]
    assert answers[-1] == [0, 10, 20]


def test_each_kind_of_step_counts_in_one_row_of_ids() -> None:
    replay = Replay()

    keys = [replay.key(id) for id in ("a", "a", "b", "a:1", "a", "a:1", "b:1", "b")]

    assert keys == ["a", "a:1", "b", "a:1:1", "a:2", "a:1:2", "b:1", "b:2"]
    assert len(set(keys)) == len(keys)


def test_ten_thousand_steps_of_one_id_are_numbered_in_no_time() -> None:
    replay = Replay()

    for _ in range(10_000):
        replay.key("one")

    assert replay.key("one") == "one:10000"


@pytest.mark.parametrize("id", ["", None, 3, b"id", "\ud800"])
def test_an_id_is_text(app: Celery, sim: Simulation, id: Any) -> None:
    @app.task
    def parent() -> None:
        step.run(id, int)

    run = sim.run(parent)

    assert isinstance(run.exception, IdError)
    assert "step id" in str(run.exception)


def test_ids_of_any_text_are_told_apart(app: Celery, sim: Simulation) -> None:
    ids = ["a", "a ", "A", "ä", "a\n", "a:1", "m:a", "w:a", "turn", "since", "cancelled", "a" * 999]

    @app.task
    def parent() -> list[str]:
        answers = [step.run(id, str, id) for id in ids]
        step.sleep("nap", 5)
        return answers

    run = sim.run(parent)
    sim.advance("1h")

    assert run.result == ids


def test_a_step_outside_a_run_is_an_error() -> None:
    with pytest.raises(NoRunError, match="no run in progress"):
        step.run("first", int)
    with pytest.raises(NoRunError, match="no run in progress"):
        step.sleep("nap", 5)
