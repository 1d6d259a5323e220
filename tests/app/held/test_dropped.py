"""Runs that a limit drops, or whose earlier run it cancels, and what others hear of it."""

from __future__ import annotations

from typing import Any

from celery import Celery

from celery_defer import Concurrency, RateLimit, Singleton, deferred, signals, step
from celery_defer.store import RunState
from tests.support.held_runs import history_of, messages_of, state_of
from tests.support.inside import WatchedStore, Worker, parent_of


def test_a_rate_limit_skips_a_run_and_says_why(
    app: Celery, worker: Worker, store: WatchedStore, ran: list[int]
) -> None:
    @deferred(app, rate_limit=RateLimit(1, 60), name="rated", shared=False)
    def rated(n: int) -> None:
        ran.append(n)

    told: list[Any] = []
    signals.run_dropped.connect(lambda **facts: told.append(facts), weak=False, dispatch_uid=1)
    first, second = messages_of(app, worker, rated, 1, 2)
    worker.trace(first)
    try:
        traced = worker.trace(second)
    finally:
        signals.run_dropped.disconnect(dispatch_uid=1)

    assert ran == [1]
    assert traced.info.state == "IGNORED"
    result = app.AsyncResult(second.headers["id"])
    assert result.state == "SKIPPED"
    assert result.result["defer_id"] == "n2"
    assert "its rate limit" in result.result["reason"]
    skipped = history_of(store, second)
    assert (skipped.state, skipped.attempts, skipped.started) == (RunState.SKIPPED, 0, 0.0)
    assert [(each["limit"], each["defer_id"]) for each in told] == [("rate_limit", "n2")]


def test_the_invoker_of_a_dropped_run_gets_the_reason(
    app: Celery, worker: Worker, ran: list[int]
) -> None:
    @deferred(app, rate_limit=RateLimit(1, 60), name="rated", shared=False)
    def rated(n: int) -> None:
        ran.append(n)

    invoker = parent_of(app, lambda: step.invoke("rated", rated, n=2), acks_late=True)
    (first,) = messages_of(app, worker, rated, 1)
    worker.trace(first)

    result = worker.run(invoker)
    worker.drain()

    assert result.state == "FAILURE"
    assert "SKIPPED: its rate limit" in str(result.result)


def test_a_singleton_that_has_to_wait_for_a_place_cancels_the_earlier_run(
    app: Celery, worker: Worker, ran: list[int]
) -> None:
    messages: list[Any] = []

    @deferred(
        app, concurrency=Concurrency(1), singleton=Singleton(mode="cancel"), name="only",
        shared=False,
    )  # fmt: skip
    def only(n: int) -> int:
        if n == 1:
            worker.trace(messages[1])
            step.run("late", ran.append, -1)
        ran.append(n)
        return n

    messages += messages_of(app, worker, only, 1, 2)
    worker.trace(messages[0])
    worker.drain()

    assert ran == [2]
    assert [state_of(app, each) for each in messages] == ["REVOKED", "SUCCESS"]


def test_a_key_that_raises_on_arrival_skips_the_run(
    app: Celery, worker: Worker, ran: list[int]
) -> None:
    broken: list[int] = []

    def key(payload: Any) -> int:
        return payload["n"] // (0 if broken else 1)

    @deferred(app, concurrency=Concurrency(1, key=key), name="keyed", shared=False)
    def keyed(n: int) -> None:
        ran.append(n)

    (message,) = messages_of(app, worker, keyed, 1)
    broken.append(1)
    worker.trace(message)

    assert ran == []
    result = app.AsyncResult(message.headers["id"])
    assert result.state == "SKIPPED"
    assert "ZeroDivisionError" in result.result["reason"]
