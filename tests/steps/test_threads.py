"""Steps that threads of one run take side by side, each with the run's context."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from threading import Barrier, Event
from typing import Any

import pytest
from celery import Celery

from celery_defer import StepError, defer, step
from celery_defer.testing import Simulation
from tests.support.flaky import Declined
from tests.support.inside import WatchedStore, Worker

# For a thread that never comes.
DEADLINE = 10


def side_by_side(functions: Iterable[Callable[[], Any]]) -> list[Future[Any]]:
    """Call the functions in threads of the run, and return what became of each."""
    functions = list(functions)
    with ThreadPoolExecutor(len(functions)) as threads:
        return [threads.submit(copy_context().run, function) for function in functions]


@pytest.fixture
def meet() -> Callable[[], object]:
    """A function that returns when two threads have called it."""
    return Barrier(2, timeout=DEADLINE).wait


def test_steps_side_by_side_in_asyncio_are_done_once_each(
    app: Celery, sim: Simulation, meet: Any
) -> None:
    done = []

    def fetch(n: int) -> int:
        meet()
        done.append(n)
        return n

    async def both() -> list[int]:
        return await asyncio.gather(
            *(asyncio.to_thread(step.run, f"fetch-{n}", fetch, n) for n in (1, 2))
        )

    @app.task
    def parent() -> list[int]:
        first = asyncio.run(both())
        step.sleep("nap", 5)
        return first

    run = sim.run(parent)
    sim.advance("1h")

    assert run.result == [1, 2]
    assert sorted(done) == [1, 2]


def test_a_step_that_fails_takes_back_its_own_calls_alone(
    app: Celery, sim: Simulation, ship: Any, meet: Any
) -> None:
    def works() -> None:
        meet()
        defer("from the one that works", ship, 1)
        meet()

    def fails() -> None:
        meet()
        defer("from the one that fails", ship, 2)
        meet()
        raise Declined

    @app.task
    def parent() -> None:
        side_by_side([lambda: step.run("works", works), lambda: step.run("fails", fails)])
        step.sleep("nap", 5)

    run = sim.run(parent)
    sim.advance("1h")

    assert run.state == "SUCCESS"
    assert [call.id for call in run.deferred.values()] == ["from the one that works"]
    assert len(sim.runs_of(ship)) == 1


def test_a_step_keeps_no_calls_of_another_one(
    app: Celery, sim: Simulation, ship: Any, meet: Any
) -> None:
    """They would be published although the other one failed."""

    def works() -> None:
        meet()
        meet()

    def fails() -> None:
        meet()
        defer("from the one that fails", ship, 2)
        meet()
        raise Declined

    @app.task
    def parent() -> None:
        side_by_side([lambda: step.run("fails", fails), lambda: step.run("works", works)])
        step.sleep("nap", 5)

    run = sim.run(parent)
    sim.advance("1h")

    assert run.state == "SUCCESS"
    assert sim.runs_of(ship) == []


def test_a_step_that_ends_after_another_one_has_parked_the_run_keeps_its_calls(
    app: Celery, sim: Simulation, ship: Any
) -> None:
    deferred, parked, done = Event(), Event(), []

    def slow() -> None:
        done.append(1)
        defer("ship", ship, 1)
        deferred.set()
        parked.wait(DEADLINE)

    def nap() -> None:
        deferred.wait(DEADLINE)
        try:
            step.sleep("nap", 5)
        finally:
            parked.set()

    @app.task
    def parent() -> None:
        for future in side_by_side([lambda: step.run("slow", slow), nap]):
            future.result()

    run = sim.run(parent)
    assert run.state == "WAITING"
    sim.advance("1h")

    assert (run.state, done) == ("SUCCESS", [1])
    assert len(sim.runs_of(ship)) == 1


class Meeting(WatchedStore):
    """A store from which two threads read the steps of a run at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.meet = Barrier(2, timeout=DEADLINE)

    def recall(self, *args: Any) -> Any:
        recalled = super().__getattr__("recall")(*args)
        self.meet.wait()
        return recalled


def test_first_steps_side_by_side_have_one_numbering(app: Celery, worker: Worker) -> None:
    app._celery_defer.store = Meeting()
    done: list[str] = []

    def do(id: str) -> int:
        return step.run(id, lambda: done.append(id) or len(done))

    @app.task
    def parent() -> int:
        side_by_side([lambda: do("a"), lambda: do("b")])
        return do("a") + do("b")

    result = worker.run(parent)

    assert result.get() == 3 + 4
    assert sorted(done) == ["a", "a", "b", "b"]


def test_a_step_in_a_thread_that_a_step_has_started_is_inside_it(
    app: Celery, sim: Simulation
) -> None:
    def outer() -> int:
        (inner,) = side_by_side([lambda: step.run("inner", int)])
        return int(inner.result())

    @app.task
    def parent() -> None:
        step.run("outer", outer)

    error = sim.run(parent).exception

    assert type(error) is StepError
    assert "step 'inner' is inside step 'outer'" in str(error)


def test_a_run_that_a_step_applies_eagerly_has_steps_of_its_own(
    app: Celery, sim: Simulation
) -> None:
    @app.task
    def inner() -> int:
        return step.run("inner", lambda: 7)

    @app.task
    def parent() -> int:
        return step.run("outer", lambda: inner.apply().get(disable_sync_subtasks=False))

    assert sim.run(parent).result == 7


def test_a_run_whose_thread_waits_goes_on_with_its_arguments_and_its_chain(
    app: Celery, sim: Simulation
) -> None:
    @app.task
    def parent(n: int, *, more: int) -> int:
        asyncio.run(asyncio.to_thread(step.sleep, "nap", 5))
        return n + more

    @app.task
    def after(total: int) -> int:
        return total * 10

    (parent.s(1, more=2) | after.s()).apply_async()
    sim.advance("1h")

    assert [run.result for run in (*sim.runs_of(parent), *sim.runs_of(after))] == [3, 30]


def test_a_retry_knows_of_the_steps_that_threads_have_finished(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    charged = []

    @app.task(bind=True)
    def parent(self: Any) -> None:
        [charge] = side_by_side([lambda: step.run("charge", charged.append, 1)])
        charge.result()
        raise self.retry(countdown=0)

    run = worker.run(parent)
    store._store._runs.clear()
    worker.drain()

    assert "the store has forgotten the steps" in str(run.result)
    assert charged == [1]
