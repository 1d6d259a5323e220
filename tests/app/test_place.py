"""A run whose place of a limit is lost ends, because another run may have it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

from celery_defer import Concurrency, LeaseLostError, Singleton, Throttle, defer, deferred, step
from celery_defer.run import find
from tests.support.inside import WatchedStore, Worker, parent_of

Act = Callable[[], Any]


@pytest.fixture(autouse=True)
def _one_clock(worker: Worker, store: WatchedStore) -> None:
    store._store.clock = lambda: worker.now


@pytest.fixture
def acts() -> dict[int, Act]:
    """What the body of a run does, by its number."""
    return {}


@pytest.fixture
def messages(app: Celery, worker: Worker, acts: dict[int, Act]) -> list[Any]:
    """Two runs, of which one at a time may execute."""

    @deferred(app, concurrency=Concurrency(1), name="work", shared=False, acks_late=True)
    def work(n: int) -> None:
        acts.get(n, lambda: None)()

    def parent() -> None:
        defer("n1", work, n=1)
        defer("n2", work, n=2)

    worker.run(parent_of(app, parent))
    return worker.published()


def take_over(app: Celery, worker: Worker, message: Any, acts: dict[int, Act]) -> None:
    """Let the lease of the run in progress end, and another process run *message* meanwhile."""
    worker.now += 31
    acts[2] = app._celery_defer.renewal.renew
    other = threading.Thread(target=worker.trace, args=[message])
    other.start()
    other.join()


def end_of(app: Celery, message: Any) -> tuple[str, Any]:
    result = app.AsyncResult(message.headers["id"])
    return result.state, type(result.result)


def test_a_body_that_has_lost_its_place_is_interrupted(
    app: Celery, worker: Worker, messages: list[Any], acts: dict[int, Act]
) -> None:
    first, second = messages

    def never_ending() -> None:
        take_over(app, worker, second, acts)
        while True:
            pass

    acts[1] = never_ending
    worker.trace(first)

    assert end_of(app, first) == ("FAILURE", LeaseLostError)
    assert end_of(app, second)[0] == "SUCCESS"


def test_a_body_that_swallows_the_interrupt_fails_at_its_end(
    app: Celery, worker: Worker, messages: list[Any], acts: dict[int, Act]
) -> None:
    first, second = messages
    swallowed = []

    def stubborn() -> None:
        try:
            take_over(app, worker, second, acts)
            while True:
                pass
        except LeaseLostError:
            swallowed.append(1)

    acts[1] = stubborn
    worker.trace(first)

    assert swallowed
    assert end_of(app, first) == ("FAILURE", LeaseLostError)


def test_an_attempt_that_lost_its_place_leaves_the_run_to_the_other_delivery(
    app: Celery, worker: Worker
) -> None:
    begun, may_end, bodies = threading.Event(), threading.Event(), []

    @deferred(
        app, concurrency=Concurrency(1), singleton=Singleton("n"), name="one", shared=False,
        acks_late=True,
    )  # fmt: skip
    def one(n: int) -> None:
        bodies.append(n)
        if len(bodies) == 1:
            worker.now += 31
            other.start()
            while True:
                pass
        begun.set()
        app._celery_defer.renewal.renew()
        assert may_end.wait(20)

    def parent() -> None:
        defer("a", one, n=7)
        defer("b", one, n=7)

    worker.run(parent_of(app, parent))
    first, rival = worker.published()
    first.delivery_info["redelivered"] = True
    other = threading.Thread(target=worker.trace, args=[first])
    worker.trace(first)
    interrupted = end_of(app, first)
    worker.trace(rival)
    app._celery_defer.renewal.renew()
    may_end.set()
    other.join()

    assert interrupted == ("FAILURE", LeaseLostError)
    assert end_of(app, rival)[0] == "SKIPPED"
    assert (bodies, end_of(app, first)[0]) == ([7, 7], "SUCCESS")


def test_a_run_that_is_interrupted_before_its_body_gives_back_its_place(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    @deferred(
        app, concurrency=Concurrency(1), throttle=Throttle(20, 1), name="paced", shared=False
    )  # fmt: skip
    def paced(n: int) -> None: ...

    def parent() -> None:
        defer("a", paced, n=1)
        defer("b", paced, n=2)

    def interrupt(_: float) -> None:
        raise SoftTimeLimitExceeded

    worker.run(parent_of(app, parent))
    first, second = worker.published()
    worker.trace(first)
    app._celery_defer.pause = interrupt
    with pytest.raises(SoftTimeLimitExceeded):
        worker.trace(second)

    (state,) = store.flow(["paced"])
    assert [each.running for each in state.limits if each.name == "concurrency"] == [0]


def test_a_body_that_could_not_be_interrupted_fails_at_its_next_step(
    app: Celery, worker: Worker, messages: list[Any], acts: dict[int, Act]
) -> None:
    done = []

    def as_a_greenlet() -> None:
        scope = find()
        assert scope is not None
        scope.place.is_lost = True
        step.run("charge", lambda: done.append(1))

    acts[1] = as_a_greenlet
    worker.trace(messages[0])

    assert done == []
    assert end_of(app, messages[0]) == ("FAILURE", LeaseLostError)


def test_a_place_that_nobody_else_has_is_renewed_late(
    app: Celery, worker: Worker, messages: list[Any], acts: dict[int, Act]
) -> None:
    def slow() -> None:
        worker.now += 31
        app._celery_defer.renewal.renew()

    acts[1] = slow
    worker.trace(messages[0])

    assert end_of(app, messages[0])[0] == "SUCCESS"


def test_a_store_that_is_away_does_not_end_a_run(
    app: Celery,
    worker: Worker,
    store: WatchedStore,
    messages: list[Any],
    acts: dict[int, Act],
    caplog: Any,
) -> None:
    def meanwhile() -> None:
        store.away = {"renew"}
        app._celery_defer.renewal.renew()
        app._celery_defer.renewal.renew()
        store.away = set()

    acts[1] = meanwhile
    worker.trace(messages[0])

    assert end_of(app, messages[0])[0] == "SUCCESS"
    assert caplog.text.count("cannot be renewed") == 1


def test_a_process_without_limited_runs_has_no_thread_for_them(
    app: Celery, worker: Worker, ship: Any
) -> None:
    before = len(
        [thread for thread in threading.enumerate() if thread.name == "celery-defer-lease"]
    )

    worker.run(parent_of(app, lambda: defer("ship", ship, n=1)))
    worker.drain()

    assert _renewing() == before


def _renewing() -> int:
    return sum(thread.name == "celery-defer-lease" for thread in threading.enumerate())
