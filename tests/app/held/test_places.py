"""A run without a place leaves its worker, and goes on when another gives one back."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import Concurrency, deferred, step
from celery_defer.store import RunState
from tests.support.held_runs import Act, from_another_process, history_of, messages_of, state_of
from tests.support.inside import WatchedStore, Worker, parent_of


def test_a_run_without_a_place_is_held_and_its_message_acknowledged(
    app: Celery,
    worker: Worker,
    store: WatchedStore,
    work: Any,
    ran: list[int],
    acts: dict[int, Act],
) -> None:
    first, second = messages_of(app, worker, work, 1, 2)
    seen: list[Any] = []
    acts[1] = lambda _: seen.extend(
        [worker.trace(second), state_of(app, second), history_of(store, second).state]
    )

    worker.trace(first)

    assert ran == [1]
    assert [seen[0].info.state, *seen[1:]] == ["IGNORED", "HELD", RunState.HELD]


def test_a_held_run_has_not_begun(
    app: Celery, worker: Worker, store: WatchedStore, work: Any, acts: dict[int, Act]
) -> None:
    first, second = messages_of(app, worker, work, 1, 2)
    held: list[Any] = []

    def act(_: int) -> None:
        worker.trace(second)
        held.append(history_of(store, second))

    acts[1] = act
    worker.trace(first)
    worker.now += 30
    worker.drain()

    after = history_of(store, second)
    assert [(each.attempts, each.started) for each in held] == [(0, 0.0)]
    assert (after.attempts, after.started) == (1, pytest.approx(worker.now, abs=1))


def test_a_freed_place_wakes_the_run_that_waits_for_it(
    app: Celery, worker: Worker, work: Any, ran: list[int], acts: dict[int, Act]
) -> None:
    first, second = messages_of(app, worker, work, 1, 2)
    acts[1] = lambda _: worker.trace(second)
    worker.trace(first)

    (woken,) = worker.published()
    worker.trace(woken)

    assert woken.headers["id"] == second.headers["id"]
    assert ran == [1, 2]
    assert app.AsyncResult(second.headers["id"]).get() == 2


def test_runs_are_woken_in_the_order_of_their_arrival(
    app: Celery, worker: Worker, work: Any, ran: list[int], acts: dict[int, Act]
) -> None:
    first, *rest = messages_of(app, worker, work, 1, 2, 3, 4)

    def arrive(_: int) -> None:
        for message in rest:
            worker.trace(message)
            worker.now += 1

    acts[1] = arrive
    worker.trace(first)
    worker.drain()

    assert ran == [1, 2, 3, 4]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_run_that_fails_gives_back_its_place(
    app: Celery,
    worker: Worker,
    work: Any,
    ran: list[int],
    acts: dict[int, Act],
    error: type[BaseException],
) -> None:
    first, second = messages_of(app, worker, work, 1, 2)

    def fail(_: int) -> None:
        worker.trace(second)
        raise error

    acts[1] = fail
    if issubclass(error, Exception):
        worker.trace(first)
    else:
        with pytest.raises(error):
            worker.trace(first)
    worker.drain()

    assert ran == [1, 2]


def test_a_run_that_waits_at_a_step_gives_back_its_place_and_asks_for_one_to_go_on(
    app: Celery, worker: Worker, work: Any, ran: list[int], acts: dict[int, Act]
) -> None:
    first, second = messages_of(app, worker, work, 1, 2)
    acts[1] = lambda _: step.sleep("nap", 10)
    worker.trace(first)
    seen = []

    def meet(_: int) -> None:
        for message in worker.later(11):
            worker.trace(message)
        seen.append(state_of(app, first))

    acts[2] = meet
    worker.trace(second)
    worker.drain()

    assert seen == ["HELD"]
    assert ran == [1, 2, 1]
    assert app.AsyncResult(first.headers["id"]).get() == 1


def test_a_retry_gives_back_the_place_and_asks_anew(
    app: Celery, worker: Worker, ran: list[int]
) -> None:
    @deferred(app, concurrency=Concurrency(1), name="tries", bind=True, shared=False)
    def tries(self: Any, n: int) -> int:
        ran.append(n)
        if n == 1 and not self.request.retries:
            raise self.retry(countdown=0)
        if n == 2:
            (again,) = [each for each in worker.published() if each.headers["retries"]]
            worker.trace(again)
        return n

    first, second = messages_of(app, worker, tries, 1, 2)
    worker.trace(first)
    worker.trace(second)
    worker.drain()

    assert ran == [1, 2, 1]
    assert app.AsyncResult(first.headers["id"]).get() == 1


def test_a_redelivery_needs_a_place_of_its_own(
    app: Celery, worker: Worker, work: Any, ran: list[int], acts: dict[int, Act]
) -> None:
    (first,) = messages_of(app, worker, work, 1)
    states: list[str] = []

    def come_again(_: int) -> None:
        if not states:
            states.append("once")
            first.delivery_info["redelivered"] = True
            from_another_process(worker, first)

    acts[1] = come_again
    worker.trace(first)

    assert ran == [1]


def test_an_invoked_run_is_held_and_its_invoker_gets_its_result(
    app: Celery, worker: Worker, work: Any, ran: list[int], acts: dict[int, Act]
) -> None:
    invoker = parent_of(app, lambda: step.invoke("work", work, n=2), acks_late=True)
    (first,) = messages_of(app, worker, work, 1)
    results: list[Any] = []

    def meet(_: int) -> None:
        results.append(worker.run(invoker))
        (second,) = worker.published()
        worker.trace(second)

    acts[1] = meet
    worker.trace(first)
    worker.drain()

    assert ran == [1, 2]
    assert results[0].get() == 2
