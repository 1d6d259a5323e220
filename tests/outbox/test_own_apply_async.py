"""Tasks whose own ``apply_async`` drops duplicates, as celery-singleton and celery-once do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, Task

from celery_defer import defer, deferred, run_id
from celery_defer.broker import Message, send
from celery_defer.ids import RunId
from tests.support.inside import WatchedStore, Worker, parent_of, ship_of
from tests.support.one_redis import app_on, lengths
from tests.support.redis import Server

REASON = "apply_async of once has published nothing"


class Singleton(Task):
    """A run has the lock until it ends, and others are answered with that run."""

    locks: dict[str, str] = {}  # noqa: RUF012

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        id = self.locks.setdefault(repr(args), options["task_id"])
        if id != options["task_id"] or options["task_id"] in self.asked:
            return self.AsyncResult(id)
        self.asked.append(id)
        return super().apply_async(args, kwargs, **options)

    asked: list[str] = []  # noqa: RUF012


class Once(Task):
    """A run has the lock until it ends, and others are rejected."""

    locks: set[str] = set()  # noqa: RUF012

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        if repr(args) in self.locks:
            return SimpleNamespace(id=None, state="REJECTED")
        self.locks.add(repr(args))
        return super().apply_async(args, kwargs, **options)


@pytest.fixture(autouse=True)
def no_locks() -> None:
    Singleton.locks.clear()
    Singleton.asked.clear()
    Once.locks.clear()


def once_of(app: Celery, base: Any) -> Any:
    @deferred
    @app.task(name="once", base=base, shared=False)
    def once(n: int) -> int:
        return n

    return once


@pytest.mark.parametrize("base", [Singleton, Once])
@pytest.mark.parametrize("has_store", [True, False])
def test_a_call_that_is_dropped_is_skipped_with_the_reason(
    app: Celery, worker: Worker, base: Any, has_store: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if has_store:
        app._celery_defer.store = WatchedStore()
    once = once_of(app, base)
    parent = parent_of(app, lambda: defer("call", once, 7) and None)
    first, second = worker.run(parent), worker.run(parent)
    (message,) = worker.published()

    kept, dropped = run_id(first.id, "call"), run_id(second.id, "call")
    assert message.headers["id"] == kept
    assert app.AsyncResult(dropped).state == "SKIPPED"
    assert REASON in app.AsyncResult(dropped).result["reason"]
    assert (f"run {kept} exists" in app.AsyncResult(dropped).result["reason"]) is (
        base is Singleton
    )
    assert f"defer 'call' of run {second.id}" in caplog.text
    assert not has_store or app._celery_defer.store.waiting() == 0


@pytest.mark.parametrize("base", [Singleton, Once])
def test_a_call_that_is_dropped_takes_no_other_along(
    app: Celery, worker: Worker, store: WatchedStore, ship: Any, base: Any
) -> None:
    once = once_of(app, base)

    def body() -> None:
        defer("first", once, 7)
        defer("second", once, 7)
        defer("ship", ship, 1)

    result = worker.run(parent_of(app, body))

    assert result.state == "SUCCESS"
    assert [message.headers["id"] for message in worker.published()] == [
        run_id(result.id, "first"),
        run_id(result.id, "ship"),
    ]


@pytest.mark.usefixtures("store")
def test_a_call_at_once_that_is_dropped_is_skipped(app: Celery, worker: Worker) -> None:
    once = once_of(app, Once).with_options(when="now")

    def body() -> None:
        defer("first", once, 7)
        defer("second", once, 7)

    result = worker.run(parent_of(app, body))

    assert len(worker.published()) == 1
    assert app.AsyncResult(run_id(result.id, "second")).state == "SKIPPED"


def test_a_run_that_is_taken_for_its_own_duplicate_is_published(
    app: Celery, worker: Worker
) -> None:
    """Its first message did not arrive, and the lock that this has taken is there."""
    once_of(app, Singleton)
    message = Message(RunId("run"), "once", [7], {}, "run", None, {}, target=app.tasks["once"])
    send(app, [message])
    worker.published()

    assert send(app, [message.again()]).sent == {"run"}
    assert [each.headers["id"] for each in worker.published()] == ["run"]


# -- where one Redis has results and messages ----------------------------------------------------


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
@pytest.mark.parametrize("base", [Singleton, Once])
def test_a_lock_that_is_taken_has_its_message_sent(server: Server, base: Any) -> None:
    """Messages that go with the result may be made in vain."""
    server.client().flushall()
    app = app_on(server)
    once, bad = once_of(app, base), ship_of(app)
    bad.serializer = "none such"

    def body() -> None:
        defer("once", once, 7)
        defer("bad", bad, 1)

    result = Worker(app).perform(parent_of(app, body))

    assert result.state == "SUCCESS"
    assert lengths(server) == [1]
    assert app._celery_defer.store.waiting() == 0
