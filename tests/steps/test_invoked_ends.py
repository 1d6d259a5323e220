"""However an invoked run ends, its invoker goes on: at once, or when a relay looks."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, Task
from celery.exceptions import Ignore

from celery_defer import StepError, deferred, step
from celery_defer.steps.invoke import _FIRST_LOOK as FIRST_LOOK
from celery_defer.testing import Simulation
from tests.support.inside import WatchedStore, Worker


class Declined(Exception):
    """What a child raises."""


def test_a_run_that_fails_raises_step_error_in_its_invoker(app: Celery, sim: Simulation) -> None:
    @deferred
    @app.task(shared=False)
    def child() -> None:
        raise Declined("no funds")

    caught = []

    @app.task
    def parent() -> str:
        try:
            step.invoke("child", child)
        except StepError as error:
            caught.append(error)
        step.sleep("nap", 5)
        return "unpaid"

    run = sim.run(parent)
    sim.advance("1h")

    assert run.result == "unpaid"
    assert [error.step for error in caught] == ["child"] * 2
    assert [error.__cause__.args for error in caught] == [("no funds",)] * 2  # type: ignore[union-attr]


def test_an_invoker_waits_for_the_retries_of_its_run(app: Celery, sim: Simulation) -> None:
    tries = []

    @deferred
    @app.task(shared=False, autoretry_for=(Declined,), default_retry_delay=0)
    def child() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise Declined
        return len(tries)

    @app.task
    def parent() -> int:
        return step.invoke("child", child)

    run = sim.run(parent)
    sim.drain()

    assert run.result == 3


def test_an_invoker_waits_for_a_run_that_waits(app: Celery, sim: Simulation) -> None:
    @deferred
    @app.task(shared=False)
    def child() -> str:
        step.sleep("nap", 60)
        return "awake"

    @app.task
    def parent() -> str:
        return step.invoke("child", child)

    run = sim.run(parent)
    sim.advance(30)
    assert run.state == "WAITING"
    sim.advance(60)

    assert run.result == "awake"


def test_an_invoker_of_an_invoker_waits_too(app: Celery, sim: Simulation) -> None:
    @deferred
    @app.task(shared=False)
    def third() -> int:
        return 1

    @deferred
    @app.task(shared=False)
    def second() -> int:
        return step.invoke("third", third) + 1

    @app.task
    def first() -> int:
        return step.invoke("second", second) + 1

    run = sim.run(first)
    sim.drain()

    assert run.result == 3


@pytest.mark.usefixtures("store")
def test_a_run_that_is_revoked_raises_step_error_in_its_invoker(
    app: Celery, invoicing: Any, worker: Worker
) -> None:
    result = worker.run(invoicing)
    (message,) = worker.published()
    app.backend.mark_as_revoked(message.headers["id"], "revoked")
    worker.wake(FIRST_LOOK)

    assert isinstance(result.result, StepError)
    assert "revoked" in str(result.result)


def test_an_end_of_which_nobody_tells_is_found_by_a_relay(
    invoicing: Any, worker: Worker, store: WatchedStore
) -> None:
    result = worker.run(invoicing)
    store.away = {"arrive"}
    (message,) = worker.published()
    worker.trace(message)
    assert worker.published() == []
    store.away = set()
    worker.wake(FIRST_LOOK)

    assert result.result == {"total": "1.50"}


def test_a_relay_looks_again_and_again_for_a_run_that_takes_its_time(
    invoicing: Any, worker: Worker, store: WatchedStore
) -> None:
    result = worker.run(invoicing)
    (message,) = worker.published()
    for _ in range(20):
        assert worker.later(60) == []
    store.away = {"arrive"}
    worker.trace(message)
    store.away = set()
    worker.wake(60)

    assert result.result == {"total": "1.50"}


def test_a_run_that_ends_before_its_invoker_has_parked_is_not_missed(
    invoicing: Any, worker: Worker, store: WatchedStore
) -> None:
    # The child runs to its end while its invoker is about to park.
    class Quick(WatchedStore):
        def __getattr__(self, name: str) -> Any:
            if name == "park" and (messages := worker.published()):
                for message in messages:
                    worker.trace(message)
            return super().__getattr__(name)

    worker.app._celery_defer.store = quick = Quick()
    quick._store = store._store
    result = worker.run(invoicing)
    worker.drain()

    assert result.result == {"total": "1.50"}


def test_a_run_that_was_invoked_before_a_crash_is_not_begun_anew(
    invoicing: Any, worker: Worker, store: WatchedStore
) -> None:
    started = []

    class Killed(BaseException):
        """SIGKILL: nothing of this process happens any more."""

    class Deadly(WatchedStore):
        def __getattr__(self, name: str) -> Any:
            if name == "park" and not started:
                started.append(name)
                raise Killed
            return super().__getattr__(name)

    worker.app._celery_defer.store = deadly = Deadly()
    deadly._store = store._store
    invoicing.apply_async()
    (message,) = worker.published()
    with pytest.raises(Killed):
        worker.trace(message)
    message.delivery_info["redelivered"] = True
    (child,) = worker.published()
    worker.trace(child)
    worker.trace(message)
    (again,) = worker.published() or [None]
    if again is not None:
        worker.trace(again)
    worker.drain()

    assert worker.app.AsyncResult(message.headers["id"]).result == {"total": "1.50"}


def test_a_broker_that_is_away_leaves_the_invoked_run_to_a_relay(nowhere: Celery) -> None:
    ship = nowhere.tasks["ship"]

    @nowhere.task(shared=False)
    def parent() -> Any:
        return step.invoke("ship", ship, n=1)

    result = Worker(nowhere).perform(parent)

    assert result.state == "WAITING"
    assert nowhere._celery_defer.store.waiting() == 2


@pytest.mark.usefixtures("store")
def test_an_invoked_run_that_is_ignored_leaves_its_invoker_waiting(
    app: Celery, worker: Worker
) -> None:
    @deferred
    @app.task(shared=False, bind=True)
    def child(self: Task[Any, Any]) -> None:
        raise Ignore

    @app.task
    def parent() -> None:
        step.invoke("child", child)

    result = worker.run(parent)
    worker.drain()
    worker.wake(60)

    assert result.state == "WAITING"


@pytest.mark.usefixtures("store")
def test_in_a_chord_an_invocation_waits_no_longer_than_the_chord_counts(
    app: Celery, worker: Worker
) -> None:
    @deferred
    @app.task(shared=False, name="child")
    def child() -> None: ...

    @app.task(shared=False)
    def parent() -> None:
        step.invoke("child", child)

    @app.task(shared=False)
    def total(results: list[object]) -> None: ...

    app.conf.result_chord_expires = 100
    result = worker.run(parent, chord=total.s().set(task_id="total"), group_id="the-group")
    worker.published()  # the child never runs
    for _ in range(3):
        worker.wake(40)

    assert result.state == "FAILURE"
    assert "set result_chord_expires" in str(result.result)


@pytest.mark.usefixtures("store")
def test_a_result_that_expires_before_the_invoker_goes_on_is_not_lost(
    app: Celery, invoicing: Any, worker: Worker
) -> None:
    result = worker.run(invoicing)
    [child] = worker.published()
    worker.trace(child)
    app.AsyncResult(child.headers["id"]).forget()
    worker.drain()

    assert result.result == {"total": "1.50"}


def test_a_failed_run_is_named_to_its_invoker_in_each_pass(app: Celery, sim: Simulation) -> None:
    @deferred
    @app.task(name="shop.backup", shared=False)
    def backup() -> None:
        raise Declined("disk full")

    told = []

    @app.task
    def parent() -> None:
        try:
            step.invoke("backup", backup)
        except StepError as error:
            told.append(str(error))
        step.sleep("nap", 5)

    (child,) = sim.run(parent).children
    sim.advance("1h")

    whose = f"run {child.id} (shop.backup)"
    assert told == [f"step 'backup' has failed: {whose} ended with Declined('disk full')"] * 2
