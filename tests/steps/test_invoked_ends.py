"""However an invoked run ends, its invoker goes on: at once, or when a relay looks."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from celery import Celery, Task
from celery.exceptions import Ignore

from celery_defer import StepError, deferred, step
from celery_defer.steps.invoke import FIRST_LOOK
from tests.support.inside import WatchedStore, Worker
from tests.support.stage import Stage


@pytest.fixture
def make_invoice(app: Celery) -> Any:
    @deferred
    @app.task(name="make_invoice", shared=False, pydantic=False)
    def make_invoice(total: Decimal) -> dict[str, str]:
        return {"total": str(total)}

    return make_invoice


@pytest.fixture
def parent(app: Celery, make_invoice: Any) -> Any:
    @app.task(name="parent")
    def parent(total: Any = "1.50") -> Any:
        return step.invoke("invoice", make_invoice, total=total)

    return parent


class Declined(Exception):
    """What a child raises."""


def test_a_run_that_fails_raises_step_error_in_its_invoker(app: Celery, stage: Stage) -> None:
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

    result = stage.begin(parent)
    stage.worker.drain()
    stage.go_on()

    assert result.result == "unpaid"
    assert [error.step for error in caught] == ["child"] * 2
    assert [error.__cause__.args for error in caught] == [("no funds",)] * 2  # type: ignore[union-attr]


def test_an_invoker_waits_for_the_retries_of_its_run(app: Celery, stage: Stage) -> None:
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

    result = stage.begin(parent)
    stage.worker.drain()

    assert result.result == 3


def test_an_invoker_waits_for_a_run_that_waits(app: Celery, stage: Stage) -> None:
    @deferred
    @app.task(shared=False)
    def child() -> str:
        step.sleep("nap", 60)
        return "awake"

    @app.task
    def parent() -> str:
        return step.invoke("child", child)

    result = stage.begin(parent)
    stage.worker.drain()
    stage.wake(30)
    assert result.state == "WAITING"
    stage.wake(60)

    assert result.result == "awake"


def test_an_invoker_of_an_invoker_waits_too(app: Celery, stage: Stage) -> None:
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

    result = stage.begin(first)
    stage.worker.drain()

    assert result.result == 3


def test_a_run_that_is_revoked_raises_step_error_in_its_invoker(
    app: Celery, parent: Any, stage: Stage
) -> None:
    result = stage.begin(parent)
    (message,) = stage.worker.published()
    app.backend.mark_as_revoked(message.headers["id"], "revoked")
    stage.wake(FIRST_LOOK)

    assert isinstance(result.result, StepError)
    assert "revoked" in str(result.result)


def test_an_end_of_which_nobody_tells_is_found_by_a_relay(
    parent: Any, stage: Stage, store: WatchedStore
) -> None:
    result = stage.begin(parent)
    store.away = {"arrive"}
    (message,) = stage.worker.published()
    stage.worker.trace(message)
    assert stage.worker.published() == []
    store.away = set()
    stage.wake(FIRST_LOOK)

    assert result.result == {"total": "1.50"}


def test_a_relay_looks_again_and_again_for_a_run_that_takes_its_time(
    parent: Any, stage: Stage, store: WatchedStore
) -> None:
    result = stage.begin(parent)
    (message,) = stage.worker.published()
    for _ in range(20):
        assert stage.later(60) == []
    store.away = {"arrive"}
    stage.worker.trace(message)
    store.away = set()
    stage.wake(60)

    assert result.result == {"total": "1.50"}


def test_a_run_that_ends_before_its_invoker_has_parked_is_not_missed(
    parent: Any, stage: Stage, store: WatchedStore
) -> None:
    # The child runs to its end while its invoker is about to park.
    class Quick(WatchedStore):
        def __getattr__(self, name: str) -> Any:
            if name == "park" and (messages := stage.worker.published()):
                for message in messages:
                    stage.worker.trace(message)
            return super().__getattr__(name)

    stage.extension.store = quick = Quick()
    quick._store = store._store
    result = stage.begin(parent)
    stage.worker.drain()

    assert result.result == {"total": "1.50"}


def test_a_run_that_was_invoked_before_a_crash_is_not_begun_anew(
    parent: Any, stage: Stage, store: WatchedStore
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

    stage.extension.store = deadly = Deadly()
    deadly._store = store._store
    parent.apply_async()
    (message,) = stage.worker.published()
    with pytest.raises(Killed):
        stage.worker.trace(message)
    message.delivery_info["redelivered"] = True
    (child,) = stage.worker.published()
    stage.worker.trace(child)
    stage.worker.trace(message)
    (again,) = stage.worker.published() or [None]
    if again is not None:
        stage.worker.trace(again)
    stage.worker.drain()

    assert stage.app.AsyncResult(message.headers["id"]).result == {"total": "1.50"}


def test_a_broker_that_is_away_leaves_the_invoked_run_to_a_relay(nowhere: Celery) -> None:
    ship = nowhere.tasks["ship"]

    @nowhere.task(shared=False)
    def parent() -> Any:
        return step.invoke("ship", ship, n=1)

    result = Worker(nowhere).perform(parent)

    assert result.state == "WAITING"
    assert nowhere._celery_defer.store.waiting() == 2


def test_an_invoked_run_that_is_ignored_leaves_its_invoker_waiting(
    app: Celery, stage: Stage
) -> None:
    @deferred
    @app.task(shared=False, bind=True)
    def child(self: Task[Any, Any]) -> None:
        raise Ignore

    @app.task
    def parent() -> None:
        step.invoke("child", child)

    result = stage.begin(parent)
    stage.worker.drain()
    stage.wake(60)

    assert result.state == "WAITING"


def test_in_a_chord_an_invocation_waits_no_longer_than_the_chord_counts(
    app: Celery, stage: Stage
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
    result = stage.begin(parent, chord=total.s().set(task_id="total"), group_id="the-group")
    stage.worker.published()  # the child never runs
    for _ in range(3):
        stage.wake(40)

    assert result.state == "FAILURE"
    assert "set result_chord_expires" in str(result.result)


def test_a_result_that_expires_before_the_invoker_goes_on_is_not_lost(
    app: Celery, parent: Any, stage: Stage
) -> None:
    result = stage.begin(parent)
    [child] = stage.worker.published()
    stage.worker.trace(child)
    app.AsyncResult(child.headers["id"]).forget()
    stage.worker.drain()

    assert result.result == {"total": "1.50"}


def test_a_failed_run_is_named_to_its_invoker_in_each_pass(app: Celery, stage: Stage) -> None:
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

    stage.begin(parent)
    [child] = stage.worker.published()
    stage.worker.trace(child)
    stage.worker.drain()
    stage.go_on()

    whose = f"run {child.headers['id']} (shop.backup)"
    assert told == [f"step 'backup' has failed: {whose} ended with Declined('disk full')"] * 2
