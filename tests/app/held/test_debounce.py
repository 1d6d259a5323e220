"""Runs of a function with a debounce: the last of them runs."""

from __future__ import annotations

from typing import Any

from celery import Celery

from celery_defer import Debounce, defer, deferred, wake
from tests.support.held_runs import Act, messages_of, state_of
from tests.support.inside import Worker, parent_of


def test_a_run_in_line_is_not_woken_by_hand_and_one_that_is_debounced_is(
    app: Celery, worker: Worker, work: Any, ran: list[int], acts: dict[int, Act]
) -> None:
    @deferred(app, debounce=Debounce(60), name="last", shared=False)
    def last(n: int) -> None:
        ran.append(n)

    first, second = messages_of(app, worker, work, 1, 2)
    (third,) = messages_of(app, worker, last, 3)
    worker.trace(third)
    woken: list[bool] = []

    def act(_: int) -> None:
        worker.trace(second)
        woken.extend(wake(each.headers["id"], app=app) for each in (second, third))

    acts[1] = act
    worker.trace(first)
    worker.wake(1)

    assert woken == [False, True]
    assert sorted(ran) == [1, 2, 3]


def test_the_last_call_of_a_debounce_runs(app: Celery, worker: Worker, ran: list[int]) -> None:
    @deferred(app, debounce=Debounce(30), name="last", shared=False)
    def last(n: int) -> None:
        ran.append(n)

    first, second = messages_of(app, worker, last, 1, 2)
    worker.trace(first)
    worker.trace(second)
    worker.wake(31)

    assert ran == [2]
    assert [state_of(app, each) for each in (first, second)] == ["REPLACED", "SUCCESS"]


def test_a_call_that_arrives_after_a_later_one_is_replaced(
    app: Celery, worker: Worker, ran: list[int]
) -> None:
    @deferred(app, debounce=Debounce(30), name="last", shared=False)
    def last(n: int) -> None:
        ran.append(n)

    def parent() -> None:
        defer("n1", last, n=1)
        worker.now += 1e-5
        defer("n2", last, n=2)

    worker.run(parent_of(app, parent))
    first, second = worker.published()
    worker.trace(second)
    worker.now += 0.01
    worker.trace(first)
    worker.wake(31)

    assert ran == [2]
    assert state_of(app, first) == "REPLACED"
