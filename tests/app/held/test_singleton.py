"""A run whose key another one has does not start; one that has begun ends as REVOKED."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import Concurrency, Singleton, Throttle, Timeouts, defer, deferred, step
from celery_defer.store import RunState
from celery_defer.views import record
from tests.support.inside import WatchedStore, Worker, parent_of


@pytest.fixture(autouse=True)
def _one_clock(worker: Worker, store: WatchedStore) -> None:
    store._store.clock = lambda: worker.now


@pytest.fixture
def ran() -> list[int]:
    return []


def messages_of(app: Celery, worker: Worker, task: Any, *numbers: int) -> list[Any]:
    """Return the messages of runs of one parent, in order."""

    def parent() -> None:
        for n in numbers:
            defer(f"n{n}", task, n=n)

    worker.run(parent_of(app, parent))
    return worker.published()


def result_of(app: Celery, message: Any) -> Any:
    return app.AsyncResult(message.headers["id"])


def test_a_run_in_progress_whose_key_another_has_got_is_revoked(
    app: Celery, worker: Worker, store: WatchedStore, ran: list[int]
) -> None:
    @deferred(app, singleton=Singleton(), name="only", shared=False)
    def only(n: int) -> None:
        ran.append(n)
        step.sleep("nap", 60 if n == 1 else 600)
        ran.append(-n)

    first, second = messages_of(app, worker, only, 1, 2)
    worker.trace(first)
    # As after an hour in the queue: the key is free, and another run has it.
    (gate,) = (each for each in store._store._gates.values() if each.mark)
    gate.mark = None
    worker.trace(second)
    worker.wake(60)

    shown = record(first.headers["id"], app=app).run
    assert ran == [1, 2]
    assert result_of(app, first).state == "REVOKED"
    assert (shown.state, shown.reason) == (
        RunState.ABORTED,
        f"cancelled by run {second.headers['id']}",
    )


def test_a_run_that_is_dropped_stays_dropped_when_it_comes_again(
    app: Celery, worker: Worker, ran: list[int]
) -> None:
    @deferred(app, singleton=Singleton(), name="only", shared=False, acks_late=True)
    def only(n: int) -> None:
        ran.append(n)
        step.sleep("nap", 60)

    first, second = messages_of(app, worker, only, 1, 2)
    for message in (first, second):
        worker.trace(message)
    second.delivery_info["redelivered"] = True
    worker.trace(second)

    assert ran == [1]
    assert result_of(app, second).state == "SKIPPED"


def test_a_run_that_comes_too_late_cancels_nobody(
    app: Celery, worker: Worker, ran: list[int]
) -> None:
    @deferred(
        app, singleton=Singleton(mode="cancel"), timeouts=Timeouts(start="1m"), name="newest",
        shared=False,
    )  # fmt: skip
    def newest(n: int) -> None:
        ran.append(n)
        step.sleep("nap", 600)
        ran.append(-n)

    first, second = messages_of(app, worker, newest, 1, 2)
    worker.trace(first)
    worker.now += 61
    worker.trace(second)
    worker.wake(600)

    assert set(ran) == {1, -1}
    assert [result_of(app, each).state for each in (first, second)] == ["SUCCESS", "REVOKED"]


@pytest.mark.parametrize("begins", [False, True])
def test_a_held_run_whose_key_raises_as_it_is_woken_is_skipped_unless_it_has_begun(
    app: Celery, worker: Worker, store: WatchedStore, ran: list[int], *, begins: bool
) -> None:
    broken: list[int] = []

    def key(payload: Any) -> int:
        return 1 // (0 if broken else 1)

    @deferred(app, concurrency=Concurrency(1, key=key), name="keyed", shared=False)
    def keyed(n: int) -> None:
        if n == 1:
            worker.trace(second)
        elif begins:
            step.sleep("nap", 60)
        ran.append(n)

    first, second = messages_of(app, worker, keyed, 1, 2)
    worker.trace(first)
    if begins:
        worker.drain()
    broken.append(1)
    worker.wake(60)

    assert result_of(app, second).state == ("SUCCESS" if begins else "SKIPPED")
    assert ran == ([1, 2] if begins else [1])
    assert store._store._outbox == {}


def test_a_run_that_could_not_cancel_the_earlier_one_does_so_when_it_comes_again(
    app: Celery, worker: Worker, ran: list[int]
) -> None:
    @deferred(
        app, singleton=Singleton(mode="cancel"), throttle=Throttle(25, 1), name="newest",
        shared=False, acks_late=True,
    )  # fmt: skip
    def newest(n: int) -> None:
        step.sleep("nap", 600)
        ran.append(n)

    def interrupt(_: float) -> None:
        raise SystemExit

    first, second = messages_of(app, worker, newest, 1, 2)
    worker.trace(first)
    app._celery_defer.pause = interrupt  # before it has cancelled the other
    with pytest.raises(SystemExit):
        worker.trace(second)
    app._celery_defer.pause = lambda _: None
    second.delivery_info["redelivered"] = True
    worker.trace(second)
    worker.wake(600)

    assert ran == [2]
    assert [result_of(app, each).state for each in (first, second)] == ["REVOKED", "SUCCESS"]


def test_a_run_whose_message_was_overtaken_does_not_cancel_the_later_one(
    app: Celery, worker: Worker, ran: list[int]
) -> None:
    @deferred(app, singleton=Singleton(mode="cancel"), name="newest", shared=False)
    def newest(n: int) -> None:
        step.sleep("nap", 600)
        ran.append(n)

    (first,) = messages_of(app, worker, newest, 1)
    worker.now += 1
    (second,) = messages_of(app, worker, newest, 2)
    worker.trace(second)
    worker.trace(first)
    worker.wake(600)

    assert ran == [2]
    assert [result_of(app, each).state for each in (first, second)] == ["SKIPPED", "SUCCESS"]
    later = f"run {second.headers['id']} was deferred later, and has not ended"
    assert later in record(first.headers["id"], app=app).run.reason
