"""Rules 3.1 to 3.4: what a call of ``defer`` does, and when."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from typing import Any

import pytest
from celery import Celery
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from celery_defer import DeferHandle, IdError, current_run, defer, deferred, run_id
from tests.support.inside import Worker, parent_of

IDS = st.text(min_size=1)


def test_a_call_runs_once_the_parent_has_succeeded(
    run: Any, receipt: Any, worker: Worker, ran: Any
) -> None:
    def parent() -> None:
        defer("receipt", receipt, order_id=7)
        ran.append("body")

    run(parent)
    worker.drain()

    assert ran == ["body", 7]


def test_3_1_nothing_is_sent_while_the_body_runs(run: Any, receipt: Any, worker: Worker) -> None:
    def parent() -> int:
        defer("receipt", receipt, order_id=7)
        return len(worker.published())

    assert run(parent).get() == 0
    assert len(worker.published()) == 1


def test_3_2_a_helper_far_below_the_task_may_defer(
    run: Any, receipt: Any, worker: Worker, ran: Any
) -> None:
    def one() -> DeferHandle:
        return two()

    def two() -> DeferHandle:
        return defer("receipt", receipt, order_id=7)

    run(lambda: str(one().id))
    worker.drain()

    assert ran == [7]


def test_3_2_asyncio_code_of_a_task_may_defer(
    run: Any, receipt: Any, worker: Worker, ran: Any
) -> None:
    async def work() -> None:
        defer("here", receipt, order_id=1)
        await asyncio.to_thread(defer, "thread", receipt, order_id=2)

    run(lambda: asyncio.run(work()))
    worker.drain()

    assert sorted(ran) == [1, 2]


def test_3_2_a_thread_defers_in_the_context_it_is_given(
    run: Any, receipt: Any, worker: Worker, ran: Any
) -> None:
    def parent() -> None:
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(defer, "x", receipt, 7))
        thread.start()
        thread.join()

    run(parent)
    worker.drain()

    assert ran == [7]


def test_3_3_the_first_payload_of_an_id_stays(
    run: Any, receipt: Any, worker: Worker, ran: Any, caplog: Any
) -> None:
    def parent() -> list[Any]:
        first = defer("receipt", receipt, order_id=1)
        second = defer("receipt", receipt, order_id=2)
        return [first.skipped, second.skipped, first.id == second.id]

    result = run(parent).get()
    worker.drain()

    assert result == [
        None,
        "defer id 'receipt' is used already in this run; its first payload stays. In a loop, "
        'number the ids: f"receipt-{n}"',
        True,
    ]
    assert ran == [1]
    assert caplog.records[0].levelno == logging.WARNING


def test_3_3_an_id_may_be_used_again_in_another_run(
    run: Any, receipt: Any, worker: Worker, ran: Any
) -> None:
    def parent() -> None:
        defer("receipt", receipt, order_id=1)

    run(parent)
    run(parent)
    worker.drain()

    assert ran == [1, 1]


def test_3_4_the_id_of_the_run_is_known_at_once(run: Any, receipt: Any, worker: Worker) -> None:
    parent = run(lambda: str(defer("receipt", receipt, order_id=7).id))
    (message,) = worker.published()

    assert parent.get() == run_id(parent.id, "receipt") == message.headers["id"]


@given(st.lists(st.tuples(IDS, IDS), min_size=2, max_size=2, unique=True))
@example([("a", "b:c"), ("a:b", "c")])
def test_3_4_no_two_calls_share_an_id(calls: Any) -> None:
    first, second = (run_id(*call) for call in calls)

    assert first != second


@pytest.mark.parametrize(("parent", "name"), [("", "receipt"), ("3f0c", ""), ("", "")])
def test_3_4_there_is_no_id_of_nothing(parent: str, name: str) -> None:
    with pytest.raises(IdError, match="give two ids that are not empty"):
        run_id(parent, name)


def test_a_task_may_defer_before_its_body_starts(
    app: Celery, worker: Worker, receipt: Any, ran: Any
) -> None:
    def before_start(self: Any, *_: Any) -> None:
        defer("receipt", receipt, order_id=7)

    worker.run(parent_of(app, lambda: None, before_start=before_start))
    worker.drain()

    assert ran == [7]


def test_of_one_id_in_two_threads_the_first_payload_stays(
    run: Any, app: Celery, worker: Worker
) -> None:
    slow, may_go_on = threading.Event(), threading.Event()

    class Slow(BaseModel):
        n: int

        def model_post_init(self, _: Any) -> None:
            if self.n == 2:
                slow.set()
                may_go_on.wait(10)

    @deferred(schema=Slow)
    @app.task
    def take(payload: Any) -> int:
        return int(payload.n)

    skipped: list[Any] = []

    def second() -> None:
        skipped.append(defer("x", take, n=2).skipped)

    def body() -> None:
        thread = threading.Thread(target=contextvars.copy_context().run, args=(second,))
        thread.start()
        slow.wait(10)
        defer("x", take, n=1)
        may_go_on.set()
        thread.join()

    run(body)

    assert "its first payload stays" in skipped[0]
    assert [m.payload[0] for m in worker.published()] == [[{"n": 1}]]
    with pytest.raises(Exception, match="no run in progress"):
        current_run()
