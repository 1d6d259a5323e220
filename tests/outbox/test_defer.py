"""Rules 3.1 to 3.10: what a call of ``defer`` does, and what a bad one does not."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from itertools import count
from typing import Any

import pytest
from celery import Celery
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from celery_defer import (
    DeferError,
    DeferHandle,
    DepthError,
    IdError,
    LimitError,
    NoRunError,
    NotDeferredError,
    PayloadError,
    current_run,
    defer,
    deferred,
    run_id,
)
from tests.support.inside import Worker


@pytest.fixture
def ran() -> list[Any]:
    """What the deferred function below was called with."""
    return []


@pytest.fixture
def receipt(app: Celery, ran: list[Any]) -> Any:
    @deferred(app)
    def receipt(order_id: int) -> int:
        ran.append(order_id)
        return order_id

    return receipt


@pytest.fixture
def run(app: Celery, worker: Worker) -> Any:
    """Runs a function as the body of a parent, and answers the parent's result."""

    def run(body: Any) -> Any:
        return worker.run(task_of(app, body))

    return run


numbers = count()


def task_of(app: Celery, body: Any, **options: Any) -> Any:
    @app.task(name=f"parent-{next(numbers)}", **options)
    def parent() -> Any:
        return body()

    return parent


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
        "defer id 'receipt' is used already in this run; its first payload stays",
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


@given(st.lists(st.tuples(st.text(), st.text()), min_size=2, max_size=2, unique=True))
@example([("a", "b:c"), ("a:b", "c")])
def test_3_4_no_two_calls_share_an_id(calls: Any) -> None:
    first, second = (run_id(*call) for call in calls)

    assert first != second


def bad_calls() -> list[Any]:
    def plain() -> None: ...

    return [
        pytest.param(
            lambda f: defer("x", f, order_id="no"), PayloadError, "order_id: Input", id="payload"
        ),
        pytest.param(
            lambda f: defer("x", f), PayloadError, "order_id: Field required", id="missing"
        ),
        pytest.param(
            lambda f: defer("x", plain), NotDeferredError, "put @deferred on top", id="function"
        ),
        pytest.param(lambda f: defer("x", None), NotDeferredError, "None is not", id="none"),
        pytest.param(lambda f: defer("x", []), NotDeferredError, "not a deferred", id="unhashable"),
        pytest.param(
            lambda f: defer("", f, 1), IdError, "'' is not a non-empty string", id="empty id"
        ),
        pytest.param(lambda f: defer(7, f, 1), IdError, "7 is not", id="number id"),
        pytest.param(lambda f: defer([], f, 1), IdError, "not a non-empty string", id="list id"),
        pytest.param(lambda f: defer("\ud800", f, 1), IdError, "Unicode", id="surrogate id"),
        pytest.param(
            lambda f: [defer("x", f, 1), defer("x", f, 2)][1], IdError, "used already", id="twice"
        ),
    ]


@pytest.mark.parametrize(("call", "error", "words"), bad_calls())
def test_3_5_a_bad_call_is_skipped_and_the_parent_goes_on(
    call: Any, error: Any, words: str, run: Any, receipt: Any, caplog: Any
) -> None:
    def parent() -> Any:
        handle = call(receipt)
        return [handle.skipped, handle.id]

    result = run(parent)

    skipped, id = result.get()
    assert words in skipped
    assert words in caplog.text
    assert result.id in caplog.text
    assert isinstance(id, str)


@pytest.mark.parametrize(("call", "error", "words"), bad_calls())
def test_3_5_a_bad_call_raises_where_defer_is_strict(
    call: Any, error: Any, words: str, app: Celery, run: Any, receipt: Any
) -> None:
    app.conf.defer_strict = True

    with pytest.raises(DeferError, match=words) as caught:
        task_of(app, lambda: call(receipt)).apply(throw=True)

    assert type(caught.value) is error


def test_3_5_of_many_skipped_calls_a_hundred_are_recorded(
    run: Any, receipt: Any, app: Celery
) -> None:
    def parent() -> list[str]:
        return [str(defer(f"bad-{n}", receipt, order_id="no").id) for n in range(102)]

    ids = run(parent).get()

    assert [app.AsyncResult(id).state for id in ids[98:]] == ["SKIPPED"] * 2 + ["PENDING"] * 2


def test_3_5_a_skipped_call_is_recorded_under_its_id(run: Any, receipt: Any, app: Celery) -> None:
    def parent() -> str:
        return str(defer("receipt", receipt, order_id="no").id)

    parent_result = run(parent)
    record = app.AsyncResult(parent_result.get())

    assert record.state == "SKIPPED"
    assert record.info["defer_id"] == "receipt"
    assert "order_id" in record.info["reason"]
    assert record._get_task_meta()["parent_id"] == parent_result.id
    assert not parent_result.children


def test_a_plain_task_is_named_when_it_is_deferred(run: Any, app: Celery) -> None:
    @app.task(name="shop.plain")
    def plain() -> None: ...

    assert "shop.plain is not a deferred function" in run(lambda: defer("x", plain).skipped).get()


def test_an_id_whose_call_was_skipped_may_be_used_for_a_good_one(
    run: Any, receipt: Any, worker: Worker, ran: Any
) -> None:
    def parent() -> Any:
        defer("receipt", receipt, order_id="no")
        return defer("receipt", receipt, order_id=7).skipped

    assert run(parent).get() is None
    worker.drain()
    assert ran == [7]


def test_3_6_outside_a_run_there_is_nothing_to_defer_from(receipt: Any) -> None:
    with pytest.raises(NoRunError, match="no run in progress"):
        defer("receipt", receipt, order_id=7)
    with pytest.raises(NoRunError):
        current_run()


def test_3_6_a_task_called_as_a_function_is_no_run(app: Celery, receipt: Any) -> None:
    parent = task_of(app, lambda: defer("receipt", receipt, order_id=7))

    with pytest.raises(NoRunError):
        parent()


def test_3_6_after_the_body_it_is_too_late(app: Celery, worker: Worker, receipt: Any) -> None:
    problems: list[str] = []

    def too_late(self: Any, *_: Any) -> None:
        try:
            defer("receipt", receipt, order_id=7)
        except NoRunError as problem:
            problems.append(str(problem))

    worker.run(task_of(app, lambda: None, on_success=too_late))

    assert "has left its body" in problems[0]


def test_a_task_may_defer_before_its_body_starts(
    app: Celery, worker: Worker, receipt: Any, ran: Any
) -> None:
    def before_start(self: Any, *_: Any) -> None:
        defer("receipt", receipt, order_id=7)

    worker.run(task_of(app, lambda: None, before_start=before_start))
    worker.drain()

    assert ran == [7]


def test_3_7_up_to_the_limit_every_call_arrives(
    run: Any, receipt: Any, worker: Worker, ran: Any, app: Celery
) -> None:
    app.conf.defer_max_per_run = 3

    def parent() -> Any:
        return [defer(f"receipt-{n}", receipt, order_id=n).skipped for n in range(5)]

    skipped = run(parent).get()
    worker.drain()

    assert skipped[:3] == [None] * 3
    assert all("defer_max_per_run" in reason for reason in skipped[3:])
    assert ran == [0, 1, 2]


def test_3_7_ten_thousand_calls_arrive(run: Any, receipt: Any, worker: Worker) -> None:
    run(lambda: [defer(str(n), receipt, order_id=n) for n in range(10_001)] and None)

    assert len(worker.published()) == 10_000


def test_3_7_a_payload_over_the_limit_is_refused(run: Any, app: Celery, worker: Worker) -> None:
    app.conf.defer_max_payload_bytes = 100

    @deferred(app)
    def take(text: str) -> None: ...

    fits = "x" * (100 - len('[[],{"text":""}]'))

    def parent() -> Any:
        return [defer("small", take, fits).skipped, defer("large", take, f"{fits}x").skipped]

    small, large = run(parent).get()

    assert small is None
    assert "the payload has 101 bytes; defer_max_payload_bytes = 100" in large
    assert len(worker.published()) == 1


def test_3_8_an_aborted_call_is_not_published(
    run: Any, receipt: Any, worker: Worker, app: Celery
) -> None:
    def parent() -> Any:
        handle = defer("receipt", receipt, order_id=7)
        handle.abort()
        handle.abort()
        return [str(handle.id), handle.skipped, defer("receipt", receipt, order_id=8).skipped]

    id, skipped, again = run(parent).get()

    assert worker.published() == []
    assert app.AsyncResult(id).state == "ABORTED"
    assert skipped is None
    assert "aborted in this run, which is final" in again


def test_3_8_abort_on_a_skipped_call_leaves_the_first_one_alone(
    run: Any, receipt: Any, worker: Worker, ran: Any
) -> None:
    def parent() -> None:
        defer("receipt", receipt, order_id=7)
        defer("receipt", receipt, order_id=8).abort()

    run(parent)
    worker.drain()

    assert ran == [7]


def test_3_8_abort_after_the_body_comes_too_late_and_says_so(
    run: Any, receipt: Any, worker: Worker, caplog: Any
) -> None:
    kept: list[DeferHandle] = []

    run(lambda: kept.append(defer("receipt", receipt, order_id=7)))
    kept[0].abort()

    assert len(worker.published()) == 1
    assert "too late to abort" in caplog.text


def test_3_10_a_function_that_defers_to_itself_ends(app: Celery, worker: Worker) -> None:
    app.conf.defer_max_depth = 3
    reasons: list[Any] = []

    @deferred(app)
    def again(n: int) -> None:
        reasons.append(defer("again", again, n + 1).skipped)

    worker.run(again, 0)
    worker.drain()

    assert reasons[:3] == [None] * 3
    assert "defer_max_depth" in reasons[3]
    assert len(reasons) == 4


def test_3_10_the_depth_has_an_error_of_its_own() -> None:
    assert issubclass(DepthError, LimitError)


def parent_of(app: Celery, body: Any, **options: Any) -> Any:
    @app.task(name="parent", **options)
    def parent() -> Any:
        return body()

    return parent


def test_of_one_id_in_two_threads_the_first_payload_stays(app: Celery, worker: Worker) -> None:
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

    worker.run(parent_of(app, body))

    assert "its first payload stays" in skipped[0]
    assert [m.payload[0] for m in worker.published()] == [[{"n": 1}]]
    with pytest.raises(Exception, match="no run in progress"):
        current_run()
