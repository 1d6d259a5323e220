"""A run that waits may stand in a chain, a group or a chord, and has its callbacks."""

from __future__ import annotations

from typing import Any

from celery import Celery, chain, chord, group

from celery_defer import step
from celery_defer.testing import Simulation
from tests.support.flaky import Declined


def test_a_run_that_waits_may_stand_in_a_chain(app: Celery, sim: Simulation) -> None:
    @app.task
    def add(n: int, more: int) -> int:
        step.sleep("nap", 5)
        return n + more

    result = chain(add.s(1, 2), add.s(3), add.s(4)).apply_async()
    sim.advance("1h")

    assert result.result == 10


def test_a_run_that_waits_may_stand_in_a_group(app: Celery, sim: Simulation) -> None:
    @app.task
    def add(n: int, more: int) -> int:
        step.sleep("nap", 5)
        return n + more

    result = group(add.s(n, 1) for n in range(3)).apply_async()
    sim.drain()
    assert not result.ready()
    sim.advance("1h")

    assert [each.result for each in result.results] == [1, 2, 3]


def test_a_callback_runs_once_when_the_run_has_ended(app: Celery, sim: Simulation) -> None:
    called = []

    @app.task
    def note(n: int) -> None:
        called.append(n)

    @app.task
    def parent() -> int:
        step.sleep("nap", 5)
        step.sleep("nap", 5)
        return 7

    sim.run(parent.s().set(link=[note.s()]))
    assert called == []
    sim.advance("1h")

    assert called == [7]


def test_an_errback_runs_once_when_the_run_has_failed(app: Celery, sim: Simulation) -> None:
    called = []

    @app.task
    def note(id: str) -> None:
        called.append(id)

    @app.task
    def parent() -> int:
        step.sleep("nap", 5)
        raise Declined

    run = sim.run(parent.s().set(link_error=[note.s()]))
    sim.advance("1h")

    assert (run.state, called) == ("FAILURE", [run.id])


def test_a_part_of_a_chord_waits_no_longer_than_the_chord_is_kept(
    app: Celery, sim: Simulation
) -> None:
    @app.task
    def part() -> None:
        step.sleep("nap", "2d")

    @app.task
    def body(_: Any) -> None: ...

    chord([part.s(), part.s()], body.s()).apply_async()
    sim.drain()

    errors = [str(run.exception) for run in sim.runs_of(part)]
    assert len(errors) == 2
    assert all("inside a chord, whose count expires" in error for error in errors)
