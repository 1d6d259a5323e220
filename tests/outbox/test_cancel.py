"""A run is cancelled: parked, at work, on its way, finished, twice."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from celery import Celery, group
from celery.exceptions import TaskRevokedError

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


@pytest.fixture
def sleeper(app: Celery) -> Any:
    @app.task(name="sleeper")
    def sleeper() -> str:
        step.sleep("nap", 60)
        return "awake"

    return sleeper


def test_a_parked_run_ends_as_revoked(sleeper: Any, worker: Worker, store: WatchedStore) -> None:
    result = worker.run(sleeper)

    assert cancel(result.id) is True
    assert result.state == "REVOKED"
    assert isinstance(result.result, TaskRevokedError)
    assert worker.later(60) == []
    assert store.waiting() == 0


@pytest.mark.usefixtures("store")
def test_to_cancel_twice_does_no_more(sleeper: Any, worker: Worker) -> None:
    result = worker.run(sleeper)
    cancel(result.id)

    assert cancel(result.id) is False
    assert result.state == "REVOKED"


@pytest.mark.usefixtures("store")
def test_a_run_that_waits_for_an_event_is_cancelled_and_no_event_wakes_it(
    app: Celery, worker: Worker
) -> None:
    @app.task
    def parent() -> None:
        step.wait_for_event("wait", "event", timeout=60)

    result = worker.run(parent)
    assert cancel(result.id)

    assert send_event("event") == 0
    assert worker.published() == []


def test_a_run_at_work_ends_where_its_next_step_would_begin(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    calls = []

    @app.task
    def parent() -> None:
        step.run("first", calls.append, 1)
        assert cancel(current_run().id) is False
        calls.append(2)
        step.sleep("nap", 60)
        calls.append(3)

    result = worker.run(parent)

    assert result.state == "REVOKED"
    assert calls == [1, 2]
    assert store.waiting() == 0


@pytest.mark.usefixtures("store")
def test_a_run_that_is_cancelled_between_two_steps_ends_with_the_next(
    app: Celery, worker: Worker
) -> None:
    calls = []

    @app.task
    def parent() -> None:
        step.run("first", calls.append, 1)
        cancel(current_run().id)
        step.run("second", calls.append, 2)
        step.run("third", calls.append, 3)

    result = worker.run(parent)

    assert result.state == "REVOKED"
    assert calls == [1, 2]


@pytest.mark.usefixtures("store")
def test_a_run_that_is_cancelled_inside_a_step_ends_after_it(app: Celery, worker: Worker) -> None:
    calls = []

    @app.task
    def parent() -> None:
        step.run("first", lambda: cancel(current_run().id))
        step.run("second", calls.append, 2)

    result = worker.run(parent)

    assert result.state == "REVOKED"
    assert calls == []


@pytest.mark.usefixtures("store")
def test_a_run_that_is_cancelled_after_its_last_step_may_succeed(
    app: Celery, worker: Worker
) -> None:
    @app.task
    def parent() -> str:
        step.run("first", int)
        cancel(current_run().id)
        return "done"

    assert worker.run(parent).result == "done"


@pytest.mark.usefixtures("store")
def test_a_run_whose_message_is_on_its_way_begins_no_step(app: Celery, worker: Worker) -> None:
    calls = []

    @app.task
    def parent() -> None:
        step.run("first", calls.append, 1)

    result = parent.apply_async(queue=worker.apart)
    assert cancel(result.id) is False
    worker.drain()

    assert result.state == "REVOKED"
    assert calls == []


@pytest.mark.usefixtures("store")
def test_a_run_whose_wake_up_is_on_its_way_begins_no_further_step(
    app: Celery, worker: Worker
) -> None:
    calls = []

    @app.task
    def parent() -> None:
        step.sleep("nap", 5)
        calls.append(1)

    result = worker.run(parent)
    (message,) = worker.later(5)
    assert cancel(result.id) is True
    worker.trace(message)

    assert result.state == "REVOKED"
    assert calls == []


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.usefixtures("store")
def test_a_cancelled_body_that_swallows_everything_is_revoked_all_the_same(
    app: Celery, worker: Worker, raises: bool
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

    assert worker.run(parent).state == "REVOKED"


def test_what_a_cancelled_run_has_deferred_is_dropped(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any
) -> None:
    @app.task
    def parent() -> None:
        defer("in-body", ship, 1)
        step.run("first", lambda: defer("in-step", ship, 2) and None)
        step.sleep("nap", 60)

    result = worker.run(parent)
    cancel(result.id)

    assert worker.published() == []
    assert store.waiting() == 0


@pytest.mark.usefixtures("store")
def test_a_finished_run_stays_as_it_is(sleeper: Any, worker: Worker) -> None:
    result = worker.run(sleeper)
    worker.wake(60)

    assert cancel(result.id) is False
    assert result.result == "awake"


@pytest.mark.usefixtures("store")
def test_a_run_that_nobody_knows_is_not_cancelled() -> None:
    assert cancel("unknown") is False


def test_without_a_store_nothing_is_cancelled(app: Celery) -> None:
    assert app._celery_defer.store is None
    with pytest.raises(StoreError):
        cancel("run")


@pytest.mark.usefixtures("store")
def test_the_invoker_of_a_cancelled_run_is_told(app: Celery, worker: Worker) -> None:
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

    result = worker.run(parent)
    (message,) = worker.published()
    ids.append(message.headers["id"])
    worker.trace(message)
    assert cancel(ids[0])
    worker.wake(60)

    assert "step 'child' has failed" in result.result


@pytest.mark.usefixtures("store")
def test_a_cancelled_part_fails_its_chord(app: Celery, worker: Worker) -> None:
    @app.task
    def part(n: int) -> int:
        if n:
            step.sleep("nap", 60)
        return n

    @app.task
    def body(found: list[int]) -> list[int]:
        return found

    result = (group(part.s(0), part.s(1)) | body.s()).apply_async()
    worker.drain()
    (waiting,) = [each for each in result.parent.results if each.state == "WAITING"]
    cancel(waiting.id)
    worker.drain()

    assert result.state == "FAILURE"


@pytest.mark.usefixtures("store")
def test_what_is_no_id_of_a_run_is_neither_cancelled_nor_aborted(
    sleeper: Any, worker: Worker
) -> None:
    result = worker.run(sleeper)

    for given in (None, result, "", 7):
        with pytest.raises(IdError, match=r"is not the id of a run: give the text, such as"):
            cancel(given)
        with pytest.raises(IdError, match=r"is not the id of a run: give the text, such as"):
            abort(given, "child")
    assert result.state == "WAITING"


def test_a_store_that_is_away_is_told_to_who_cancels(
    sleeper: Any, worker: Worker, store: WatchedStore
) -> None:
    result = worker.run(sleeper)
    store.away = {"cancel"}
    with pytest.raises(StoreError, match=rf"run {result.id} .* \(ConnectionError: the store") as e:
        cancel(result.id)

    assert isinstance(e.value.__cause__, ConnectionError)
    store.away = set()
    assert cancel(result.id) is True


@pytest.mark.usefixtures("store")
def test_a_run_that_is_cancelled_at_work_ends_where_its_next_step_would_begin(
    app: Celery, worker: Worker
) -> None:
    went_on = []

    @app.task(bind=True)
    def parent(self: object) -> None:
        step.run("first", lambda: cancel(self.request.id))  # type: ignore[attr-defined]
        step.sleep("nap", 5)
        went_on.append("after")

    result = worker.run(parent)

    assert (result.state, went_on) == ("REVOKED", [])


@pytest.mark.usefixtures("store")
def test_a_run_in_progress_is_terminated_though_its_result_says_that_it_was_revoked(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that do not have a run store that for it, if its state was PENDING."""
    revoked: list[tuple[str, bool]] = []
    monkeypatch.setattr(
        app.control, "revoke", lambda run, terminate: revoked.append((run, terminate))
    )
    app.backend.store_result("busy", None, "REVOKED")

    cancel("busy")
    cancel("busy", terminate=True)

    assert revoked == [("busy", True)]
