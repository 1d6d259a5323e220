"""Rule 3.2: in eager mode the deferred runs run here, after their parent."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, Task
from pydantic import BaseModel

from celery_defer import current_run, defer, deferred
from tests.support.inside import Worker


class Order(BaseModel):
    order_id: int


@pytest.fixture(params=["task_always_eager", "apply"])
def start(request: pytest.FixtureRequest, app: Celery) -> Any:
    if request.param == "apply":
        return lambda task: task.apply()
    app.conf.task_always_eager = True
    return lambda task: task.delay()


def test_deferred_runs_run_inline_after_their_parent(app: Celery, start: Any) -> None:
    order: list[str] = []

    @deferred(schema=Order)
    @app.task
    def inner(order: Order) -> None: ...

    @deferred(schema=Order)
    @app.task
    def ship(order_placed: Order) -> None:
        run = current_run()
        assert run.parent
        order.append(f"ship {order_placed.order_id} for {run.parent.task}: {run.parent.result()}")
        defer("inner", note, text="nested")

    @deferred
    @app.task
    def note(text: str) -> None:
        order.append(text)

    @app.task(name="parent")
    def parent() -> str:
        defer("first", ship, order_id=1)
        defer("second", note, text="second")
        order.append("body")
        return "done"

    result = start(parent)

    assert result.get() == "done"
    assert order == ["body", "ship 1 for parent: done", "nested", "second"]


def test_links_are_those_of_a_worker(app: Celery, start: Any) -> None:
    seen: list[Any] = []

    @deferred
    @app.task(bind=True)
    def ship(self: Any) -> None:
        run = current_run()
        assert run.parent
        seen.append((run.parent.id, run.root_id, run.id))

    @app.task
    def parent() -> str:
        return str(defer("ship", ship).id)

    result = start(parent)

    assert seen == [(result.id, result.id, result.get())]


def test_a_failed_parent_runs_nothing(app: Celery, start: Any) -> None:
    ran: list[str] = []

    @deferred
    @app.task
    def ship() -> None:
        ran.append("ship")

    @app.task
    def parent() -> None:
        defer("ship", ship)
        raise ValueError

    assert start(parent).state == "FAILURE"
    assert ran == []


def test_4_5_a_deferred_run_that_fails_does_not_touch_its_parent(
    app: Celery, start: Any, caplog: Any
) -> None:
    ran: list[str] = []
    app.conf.task_eager_propagates = True

    @deferred
    @app.task
    def fail() -> None:
        raise ValueError

    @deferred
    @app.task
    def ship() -> None:
        ran.append("ship")

    @app.task
    def parent() -> str:
        defer("fail", fail)
        defer("ship", ship)
        return "done"

    assert start(parent).get() == "done"
    assert ran == ["ship"]
    # Celery has told of the failure.
    assert "celery_defer.outbox.messages" not in {entry.name for entry in caplog.records}


def test_a_retried_parent_defers_once(app: Celery, start: Any) -> None:
    ran: list[int] = []

    @deferred
    @app.task
    def ship(attempt: int) -> None:
        ran.append(attempt)

    @app.task(bind=True)
    def parent(self: Any) -> None:
        attempt = current_run().attempt
        defer("ship", ship, attempt=attempt)
        if attempt == 1:
            raise self.retry(countdown=0)

    start(parent)

    assert ran == [2]


def test_an_eager_run_inside_a_run_keeps_its_calls_apart(app: Celery, start: Any) -> None:
    order: list[str] = []

    @deferred
    @app.task
    def note(text: str) -> None:
        order.append(text)

    @app.task
    def inner() -> None:
        defer("note", note, text="of inner")

    @app.task
    def outer() -> None:
        defer("note", note, text="of outer")
        inner.apply()
        order.append("outer's body")

    start(outer)

    assert order == ["of inner", "outer's body", "of outer"]


def test_a_task_called_as_a_function_joins_the_run_that_calls_it(app: Celery, start: Any) -> None:
    ran: list[str] = []

    @deferred
    @app.task
    def note(text: str) -> str:
        ran.append(text)
        return current_run().id

    @app.task
    def parent() -> Any:
        return [note("called"), current_run().id, str(defer("note", note, text="deferred").skipped)]

    result = start(parent)

    assert result.get() == [result.id, result.id, "None"]
    assert ran == ["called", "deferred"]


class Prefixing(Task):  # type: ignore[misc]
    """Changes what it is sent with, as a class may that waits for a commit or drops duplicates."""

    abstract = True

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        return super().apply_async(args, {**kwargs, "text": f"sent: {kwargs['text']}"}, **options)


def test_an_apply_async_of_a_task_class_is_called_as_by_a_worker(app: Celery) -> None:
    app.conf.task_always_eager = app.conf.task_eager_propagates = True
    ran: list[tuple[str, str]] = []

    @deferred
    @app.task(base=Prefixing)
    def note(text: str) -> None:
        run = current_run()
        assert run.parent
        ran.append((run.id, text))
        if text.endswith("bad"):
            raise ValueError

    @app.task
    def parent() -> list[str]:
        return [str(defer(text, note, text=text).id) for text in ("bad", "good")]

    bad, good = parent.delay().get()

    assert ran == [(bad, "sent: bad"), (good, "sent: good")]


def test_a_parent_that_is_applied_by_hand_sends_no_message(app: Celery, worker: Worker) -> None:
    ran: list[str] = []

    @deferred
    @app.task(base=Prefixing)
    def note(text: str) -> None:
        ran.append(text)

    @app.task
    def parent() -> None:
        defer("note", note, text="x")

    parent.apply()

    assert (ran, worker.published()) == (["x"], [])
