"""Which runs of a function its limits hold for, and what they cost."""

from __future__ import annotations

from typing import Any

from celery import Celery

from celery_defer import Concurrency, Throttle, deferred
from tests.support.held_runs import Act, messages_of
from tests.support.inside import WatchedStore, Worker


def test_a_run_that_was_sent_otherwise_has_no_limits(
    app: Celery, worker: Worker, work: Any, ran: list[int], acts: dict[int, Act]
) -> None:
    (first,) = messages_of(app, worker, work, 1)
    acts[1] = lambda _: worker.run(work, 2)

    worker.trace(first)

    assert ran == [1, 2]


def test_limits_for_all_hold_runs_that_were_sent_otherwise(
    app: Celery, worker: Worker, ran: list[int]
) -> None:
    @deferred(app, concurrency=Concurrency(1), limits="all", name="all", shared=False)
    def work(n: int) -> int:
        ran.append(n)
        if n == 1:
            work.delay(2)
            (second,) = worker.published()
            worker.trace(second)
            worker.trace(second)
        return n

    worker.run(work, 1)
    assert ran == [1]

    worker.drain()
    assert ran == [1, 2]


def test_a_second_message_of_a_run_with_limits_for_all_does_nothing(
    app: Celery, worker: Worker, ran: list[int]
) -> None:
    @deferred(app, concurrency=Concurrency(1), limits="all", name="all", shared=False)
    def work(n: int) -> int:
        ran.append(n)
        return n

    work.delay(1)
    (message,) = worker.published()
    worker.trace(message)
    worker.trace(message)

    assert ran == [1]


def test_an_eager_run_has_no_limits(app: Celery, ran: list[int]) -> None:
    @deferred(app, throttle=Throttle(1, "1h"), limits="all", name="eager", shared=False)
    def work(n: int) -> int:
        ran.append(n)
        return n

    work.apply([1])
    work.apply([2])

    assert ran == [1, 2]


def test_a_retry_of_a_run_with_limits_for_all_runs(
    app: Celery, worker: Worker, ran: list[int]
) -> None:
    @deferred(
        app, concurrency=Concurrency(1), limits="all", name="all", bind=True, shared=False
    )  # fmt: skip
    def work(self: Any, n: int) -> int:
        ran.append(n)
        if not self.request.retries:
            raise self.retry(countdown=0)
        return n

    worker.run(work, 1)
    worker.drain()

    assert ran == [1, 1]


def test_a_function_without_limits_asks_nothing(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    @deferred(app, name="free", shared=False)
    def free(n: int) -> None: ...

    (message,) = messages_of(app, worker, free, 1)
    store.asked.clear()
    worker.trace(message)

    assert [name for name in store.asked if name != "note"] == ["claim"]


def test_a_run_with_a_place_takes_one_trip_more(
    app: Celery, worker: Worker, store: WatchedStore, work: Any
) -> None:
    (message,) = messages_of(app, worker, work, 1)
    store.asked.clear()
    worker.trace(message)

    assert [name for name in store.asked if name != "note"] == ["claim", "give_back"]
