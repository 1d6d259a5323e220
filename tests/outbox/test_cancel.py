"""A run is cancelled: parked, at work, on its way, finished, twice."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from celery import Celery, group
from celery.exceptions import TaskRevokedError
from celery.worker import state

from celery_defer import (
    IdError,
    StoreError,
    abort,
    cancel,
    current_run,
    defer,
    deferred,
    send_event,
    step,
)
from tests.support.inside import WatchedStore, Worker
from tests.support.stage import Stage


@pytest.fixture
def sleeper(app: Celery) -> Any:
    @app.task(name="sleeper")
    def sleeper() -> str:
        step.sleep("nap", 60)
        return "awake"

    return sleeper


@pytest.fixture(autouse=True)
def _nothing_revoked() -> Any:
    yield
    state.revoked.clear()


def test_a_parked_run_ends_as_revoked(sleeper: Any, stage: Stage) -> None:
    result = stage.begin(sleeper)

    assert cancel(result.id) is True
    assert result.state == "REVOKED"
    assert isinstance(result.result, TaskRevokedError)
    assert stage.later(60) == []
    assert stage.parked() == 0


def test_to_cancel_twice_does_no_more(sleeper: Any, stage: Stage) -> None:
    result = stage.begin(sleeper)
    cancel(result.id)

    assert cancel(result.id) is False
    assert result.state == "REVOKED"


def test_a_run_that_waits_for_an_event_is_cancelled_and_no_event_wakes_it(
    app: Celery, stage: Stage
) -> None:
    @app.task
    def parent() -> None:
        step.wait_for_event("wait", "event", timeout=60)

    result = stage.begin(parent)
    assert cancel(result.id)

    assert send_event("event") == 0
    assert stage.worker.published() == []


def test_a_run_at_work_ends_where_its_next_step_would_begin(app: Celery, stage: Stage) -> None:
    calls = []

    @app.task
    def parent() -> None:
        step.run("first", calls.append, 1)
        assert cancel(current_run().id) is False
        calls.append(2)
        step.sleep("nap", 60)
        calls.append(3)

    result = stage.begin(parent)

    assert result.state == "REVOKED"
    assert calls == [1, 2]
    assert stage.parked() == 0


def test_a_run_that_is_cancelled_between_two_steps_ends_with_the_next(
    app: Celery, stage: Stage
) -> None:
    calls = []

    @app.task
    def parent() -> None:
        step.run("first", calls.append, 1)
        cancel(current_run().id)
        step.run("second", calls.append, 2)
        step.run("third", calls.append, 3)

    result = stage.begin(parent)

    assert result.state == "REVOKED"
    assert calls == [1, 2]


def test_a_run_that_is_cancelled_inside_a_step_ends_after_it(app: Celery, stage: Stage) -> None:
    calls = []

    @app.task
    def parent() -> None:
        step.run("first", lambda: cancel(current_run().id))
        step.run("second", calls.append, 2)

    result = stage.begin(parent)

    assert result.state == "REVOKED"
    assert calls == []


def test_a_run_that_is_cancelled_after_its_last_step_may_succeed(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> str:
        step.run("first", int)
        cancel(current_run().id)
        return "done"

    assert stage.begin(parent).result == "done"


def test_a_run_whose_message_is_on_its_way_begins_no_step(app: Celery, stage: Stage) -> None:
    calls = []

    @app.task
    def parent() -> None:
        step.run("first", calls.append, 1)

    result = parent.apply_async(queue=stage.worker.apart)
    assert cancel(result.id) is False
    stage.worker.drain()

    assert result.state == "REVOKED"
    assert calls == []


def test_a_run_that_is_being_woken_begins_no_further_step(app: Celery, stage: Stage) -> None:
    calls = []

    @app.task
    def parent() -> None:
        step.sleep("nap", 5)
        calls.append(1)

    result = stage.begin(parent)
    (message,) = stage.later(5)
    assert cancel(result.id) is False
    stage.worker.trace(message)

    assert result.state == "REVOKED"
    assert calls == []


@pytest.mark.parametrize("raises", [False, True])
def test_a_cancelled_body_that_swallows_everything_is_revoked_all_the_same(
    app: Celery, stage: Stage, raises: bool
) -> None:
    @app.task
    def parent() -> str:
        step.run("first", int)
        cancel(current_run().id)
        try:
            step.sleep("nap", 60)
        except BaseException:
            if raises:
                raise ValueError from None
        with suppress(BaseException):
            step.run("second", int)
        return "done"

    assert stage.begin(parent).state == "REVOKED"


def test_what_a_cancelled_run_has_deferred_is_dropped(app: Celery, stage: Stage, ship: Any) -> None:
    @app.task
    def parent() -> None:
        defer("in-body", ship, 1)
        step.run("first", lambda: defer("in-step", ship, 2) and None)
        step.sleep("nap", 60)

    result = stage.begin(parent)
    cancel(result.id)

    assert stage.worker.published() == []
    assert stage.parked() == 0


def test_a_finished_run_stays_as_it_is(sleeper: Any, stage: Stage) -> None:
    result = stage.finish(sleeper)

    assert cancel(result.id) is False
    assert result.result == "awake"


def test_a_run_that_nobody_knows_is_not_cancelled(stage: Stage) -> None:
    assert stage.parked() == 0
    assert cancel("unknown") is False


def test_without_a_store_nothing_is_cancelled(app: Celery) -> None:
    assert app._celery_defer.store is None
    with pytest.raises(StoreError):
        cancel("run")


def test_the_invoker_of_a_cancelled_run_is_told(app: Celery, stage: Stage) -> None:
    @deferred
    @app.task(shared=False)
    def child() -> None:
        step.sleep("nap", 3_600)

    ids = []

    @app.task
    def parent() -> str:
        try:
            step.invoke("child", child)
        except Exception as error:
            return str(error)
        return "done"

    result = stage.begin(parent)
    (message,) = stage.worker.published()
    ids.append(message.headers["id"])
    stage.worker.trace(message)
    assert cancel(ids[0])
    stage.wake(60)

    assert "step 'child' has failed" in result.result


def test_a_cancelled_part_fails_its_chord(app: Celery, stage: Stage) -> None:
    @app.task
    def part(n: int) -> int:
        if n:
            step.sleep("nap", 60)
        return n

    @app.task
    def body(found: list[int]) -> list[int]:
        return found

    result = (group(part.s(0), part.s(1)) | body.s()).apply_async()
    stage.worker.drain()
    (waiting,) = [each for each in result.parent.results if each.state == "WAITING"]
    cancel(waiting.id)
    stage.worker.drain()

    assert result.state == "FAILURE"


def test_what_is_no_id_of_a_run_is_neither_cancelled_nor_aborted(
    sleeper: Any, stage: Stage
) -> None:
    result = stage.begin(sleeper)

    for given in (None, result, "", 7):
        with pytest.raises(IdError, match=r"is no id of a run: give the text, such as result\.id"):
            cancel(given)
        with pytest.raises(IdError, match=r"is no id of a run: give the text, such as result\.id"):
            abort(given, "child")
    assert result.state == "WAITING"


def test_a_store_that_is_away_is_told_to_who_cancels(
    sleeper: Any, stage: Stage, store: WatchedStore
) -> None:
    result = stage.begin(sleeper)
    store.away = {"cancel"}
    with pytest.raises(StoreError, match=rf"run {result.id} .* \(ConnectionError: the store") as e:
        cancel(result.id)

    assert isinstance(e.value.__cause__, ConnectionError)
    store.away = set()
    assert cancel(result.id) is True


def test_a_run_that_is_cancelled_at_work_ends_where_its_next_step_would_begin(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    went_on = []

    @app.task(bind=True)
    def parent(self: object) -> None:
        step.run("first", lambda: cancel(self.request.id))  # type: ignore[attr-defined]
        step.sleep("nap", 5)
        went_on.append("after")

    result = worker.run(parent)

    assert (result.state, went_on) == ("REVOKED", [])
