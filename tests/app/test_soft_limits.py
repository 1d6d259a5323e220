"""A soft time limit may strike in a round trip of the package: it reaches the run all the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import pytest
from celery import Celery, Task
from celery.exceptions import SoftTimeLimitExceeded
from pydantic import AfterValidator

from celery_defer import defer, deferred
from celery_defer.contract import Contract
from tests.support.inside import WatchedStore, Worker, ids_of


class SlowStore(WatchedStore):
    """Does what it is asked, but answers ``slow`` methods when the run's time is up."""

    def __init__(self) -> None:
        super().__init__()
        self.slow: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        ask = super().__getattr__(name)
        return self._late(ask) if name in self.slow else ask

    def _late(self, ask: Callable[..., Any]) -> Callable[..., Any]:
        def answer(*args: Any, **kwargs: Any) -> Any:
            ask(*args, **kwargs)
            raise SoftTimeLimitExceeded

        return answer


@pytest.fixture
def store(app: Celery) -> SlowStore:
    app._celery_defer.store = store = SlowStore()
    return store


def late(_: object) -> Any:
    raise SoftTimeLimitExceeded


class LateToCarry:
    def __init__(self, layout: Any) -> None:
        self.called = layout.called

    def carry(self, _: bytes, count: int) -> bytes:
        raise SoftTimeLimitExceeded


class LateToLink(Task):  # type: ignore[misc]
    @property
    def trail(self) -> bool:
        raise SoftTimeLimitExceeded


class LateToPublish(Task):  # type: ignore[misc]
    @property
    def priority(self) -> int:
        raise SoftTimeLimitExceeded


def catching(app: Celery, call: Callable[[], Any]) -> Any:
    """Return a task whose body makes a call, and notices that its time is up."""

    @app.task(name="parent", shared=False)
    def parent() -> str:
        try:
            call()
        except SoftTimeLimitExceeded:
            return "in time"
        return "too late"

    return parent


def end_of(result: Any) -> tuple[str, type]:
    return result.state, type(result.result)


TIMED_OUT = ("FAILURE", SoftTimeLimitExceeded)


def test_while_the_record_is_staged_it_fails_the_run_and_takes_the_record_back(
    app: Celery, worker: Worker, store: SlowStore, ship: Any
) -> None:
    store.slow = {"stage"}

    @app.task
    def parent() -> None:
        defer("receipt", ship, 1)
        defer("apology", ship.with_options(when="failure"), 2)

    result = worker.run(parent)

    assert end_of(result) == TIMED_OUT
    assert ids_of(worker.published()) == ["apology"]
    assert not result.children
    assert store.waiting() == 0


def test_while_the_calls_are_linked_it_strikes_in_celerys_storing_of_the_result(
    app: Celery, worker: Worker, store: SlowStore, ship: Any
) -> None:
    """Celery warns then; before 5.7 it is the worker's main process that stores the failure."""

    @app.task(base=LateToLink)
    def parent() -> None:
        defer("receipt", ship, 1)

    with pytest.warns(RuntimeWarning, match="outside body: SoftTimeLimitExceeded"):
        result = worker.run(parent)
    app.backend.mark_as_failure(result.id, SoftTimeLimitExceeded())

    assert end_of(result) == TIMED_OUT
    assert not result.children
    assert worker.later(60) == []
    assert store.waiting() == 0


def test_while_the_record_of_an_earlier_attempt_is_removed_it_fails_the_run(
    app: Celery, worker: Worker, store: SlowStore
) -> None:
    @app.task(name="parent", shared=False)
    def parent() -> None: ...

    parent.apply_async()
    (message,) = worker.published()
    message.delivery_info["redelivered"] = True
    store.slow = {"settle"}
    worker.trace(message)

    assert end_of(app.AsyncResult(message.headers["id"])) == TIMED_OUT


def test_while_the_run_is_claimed_it_reaches_the_pool_and_the_body_does_not_run(
    app: Celery, worker: Worker, store: SlowStore, ship: Any
) -> None:
    """Celery's tracer has not begun, so the worker's main process stores the failure."""

    @app.task
    def parent() -> None:
        defer("ship", ship, 1)

    worker.run(parent)
    (message,) = worker.published()
    store.slow = {"claim"}

    with pytest.raises(SoftTimeLimitExceeded):
        worker.trace(message)
    assert app.AsyncResult(message.headers["id"]).state == "PENDING"


def test_in_the_body_it_can_be_caught_while_a_call_is_published(
    app: Celery, worker: Worker, store: SlowStore
) -> None:
    @deferred
    @app.task(base=LateToPublish)
    def ship(n: int) -> None: ...

    parent = catching(app, lambda: defer("ship", ship.with_options(when="now"), 1))

    assert worker.run(parent).get() == "in time"


def test_in_the_body_it_can_be_caught_while_a_call_is_kept(
    nowhere: Celery, store: SlowStore
) -> None:
    nowhere._celery_defer.store = store
    store.slow = {"stage"}
    ship = nowhere.tasks["ship"]
    parent = catching(nowhere, lambda: defer("ship", ship.with_options(when="now"), 1))

    assert Worker(nowhere).perform(parent).get() == "in time"


def test_in_the_body_it_can_be_caught_while_a_call_is_aborted(
    app: Celery, worker: Worker, store: SlowStore, ship: Any
) -> None:
    store.slow = {"claim"}

    parent = catching(app, lambda: defer("ship", ship.with_options(when="now"), 1).abort())

    assert worker.run(parent).get() == "in time"


def test_in_the_body_it_can_be_caught_while_a_payload_is_checked(
    app: Celery, worker: Worker
) -> None:
    @deferred
    @app.task(name="weigh", shared=False)
    def weigh(what: Annotated[int, AfterValidator(late)]) -> None: ...

    parent = catching(app, lambda: defer("weigh", weigh, 1))

    assert worker.run(parent).get() == "in time"


def test_in_the_body_it_can_be_caught_while_a_payload_is_packed() -> None:
    def weigh(grams: int) -> None: ...

    kept = Contract.of("weigh", weigh)

    with pytest.raises(SoftTimeLimitExceeded):
        replace(kept, layout=LateToCarry(kept.layout)).pack([1], {})
