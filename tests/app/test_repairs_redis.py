"""What a person does to runs whose records are in a Redis, beside events and relays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from threading import Barrier, Thread
from typing import Any

import pytest
from celery import Celery

from celery_defer import defer, deferred, restart, run_id, send_event, step, wake
from celery_defer.app import retry_quarantined
from celery_defer.errors import RecordError, RestartError
from celery_defer.outbox.relay import Relay
from celery_defer.store import RedisStore
from tests.support.inside import Worker
from tests.support.redis import Server

RUNS = 10


@pytest.fixture
def store(app: Celery, server: Server) -> Iterator[RedisStore]:
    with server.client(db=2) as client:
        extension = app._celery_defer
        extension.store = store = RedisStore(client, clock=extension._now)
        yield store


def at_once(*actions: Callable[[], object]) -> None:
    """Do all of this at the same time, each in a thread of its own."""
    barrier = Barrier(len(actions))

    def start(action: Callable[[], object]) -> None:
        barrier.wait()
        action()

    threads = [Thread(target=start, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_wake_an_event_and_a_relay_wake_a_run_once(
    app: Celery, worker: Worker, store: RedisStore
) -> None:
    ends = []

    @app.task
    def waiter(n: int) -> Any:
        event = step.wait_for_event("wait", "event", timeout=3_600, match={"n": n})
        ends.append(n)
        return event and event.data["n"]

    extension = app._celery_defer
    results = [worker.run(waiter, n) for n in range(RUNS)]
    for n, result in enumerate(results):
        at_once(
            partial(wake, result.id, app=app),
            partial(send_event, "event", {"n": n}, app=app),
            partial(Relay(app, store, extension.settings).tick, worker.now),
        )
    worker.drain()
    worker.wake(0)

    assert sorted(ends) == list(range(RUNS))
    assert all(result.result in (None, n) for n, result in enumerate(results))
    assert store.waiting() == 0


def test_two_restarts_are_one(app: Celery, worker: Worker, store: RedisStore) -> None:
    done: list[str] = []
    refused: list[Exception] = []
    broken = True

    def charge() -> None:
        done.append("charge")

    @deferred(app)
    def ship() -> None:
        step.run("charge", charge)
        if broken:
            raise ConnectionError
        done.append("ship")

    @app.task
    def parent() -> None:
        defer("ship", ship)

    id = run_id(worker.run(parent).id, "ship")
    worker.drain()
    broken = False

    def again() -> None:
        try:
            restart(id, app=app)
        except RestartError as error:
            refused.append(error)

    at_once(again, again, again)
    worker.wake(0)

    assert done == ["charge", "ship"]
    assert len(refused) == 2
    assert store.waiting() == 0


def test_a_record_leaves_the_quarantine_once(
    app: Celery, worker: Worker, store: RedisStore, ship: Any
) -> None:
    refused: list[Exception] = []

    @app.task
    def parent() -> None:
        defer("ship", ship, n=1)

    def route(name: str, *_: Any, **__: Any) -> None:
        if name == "ship" and is_broken:
            raise ValueError("no route")

    is_broken = True
    app.conf.task_routes = (route,)
    id = worker.run(parent).id
    assert [entry.id for entry in store.quarantined()] == [id]
    is_broken = False

    def again() -> None:
        try:
            retry_quarantined(id, app=app)
        except RecordError as error:
            refused.append(error)

    at_once(again, again)

    assert len(refused) == 1
    assert len(worker.later(0)) == 1
    assert (store.quarantined(), store.waiting()) == ([], 0)
