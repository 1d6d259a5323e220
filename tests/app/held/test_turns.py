"""Held runs that are cancelled, aborted, woken, delivered again, restarted, or expire."""

from __future__ import annotations

from typing import Any

from celery import Celery

from celery_defer import Throttle, abort, cancel, deferred, restart, wake
from tests.support.held_runs import Act, messages_of, state_of
from tests.support.inside import Worker


def test_a_held_run_expires_when_its_first_message_would_have(
    app: Celery, worker: Worker, work: Any, acts: dict[int, Act]
) -> None:
    first, second = messages_of(app, worker, work.with_options(expires=60), 1, 2)
    acts[1] = lambda _: worker.trace(second)

    worker.trace(first)

    (woken,) = worker.published()
    assert woken.headers["expires"] == second.headers["expires"] is not None


def test_a_redelivery_of_a_held_run_does_nothing(
    app: Celery, worker: Worker, work: Any, ran: list[int], acts: dict[int, Act]
) -> None:
    first, second = messages_of(app, worker, work, 1, 2)

    def arrive_twice(_: int) -> None:
        worker.trace(second)
        second.delivery_info["redelivered"] = True
        worker.trace(second)

    acts[1] = arrive_twice
    worker.trace(first)
    worker.drain()

    assert ran == [1, 2]


def test_a_cancelled_run_is_not_woken_and_the_next_one_is(
    app: Celery, worker: Worker, work: Any, ran: list[int], acts: dict[int, Act]
) -> None:
    first, second, third = messages_of(app, worker, work, 1, 2, 3)

    def arrive(_: int) -> None:
        worker.trace(second)
        worker.now += 1
        worker.trace(third)
        assert cancel(second.headers["id"], app=app)

    acts[1] = arrive
    worker.trace(first)
    worker.drain()

    assert ran == [1, 3]
    assert state_of(app, second) == "REVOKED"


def test_a_held_run_cannot_be_woken(
    app: Celery, worker: Worker, work: Any, acts: dict[int, Act]
) -> None:
    first, second = messages_of(app, worker, work, 1, 2)
    woken: list[bool] = []

    def arrive(_: int) -> None:
        worker.trace(second)
        woken.append(wake(second.headers["id"], app=app))

    acts[1] = arrive
    worker.trace(first)

    assert woken == [False]


def test_a_held_run_can_be_aborted(
    app: Celery, worker: Worker, work: Any, ran: list[int], acts: dict[int, Act]
) -> None:
    first, second = messages_of(app, worker, work, 1, 2)
    parent = second.headers["parent_id"]

    def arrive(_: int) -> None:
        worker.trace(second)
        assert abort(parent, "n2", app=app)

    acts[1] = arrive
    worker.trace(first)
    worker.drain()

    assert ran == [1]


def test_a_restarted_run_asks_as_one_that_starts(
    app: Celery, worker: Worker, ran: list[int]
) -> None:
    @deferred(app, throttle=Throttle(1, 60), name="paced", shared=False)
    def paced(n: int) -> None:
        ran.append(n)
        if len(ran) == 1:
            raise ValueError

    (message,) = messages_of(app, worker, paced, 1)
    worker.trace(message)
    restart(message.headers["id"], app=app)

    worker.wake(1)
    assert (ran, state_of(app, message)) == ([1], "HELD")
    worker.wake(60)
    assert (ran, state_of(app, message)) == ([1, 1], "SUCCESS")
