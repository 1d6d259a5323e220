"""Rule 3.5: a call of ``defer`` that cannot be made is skipped, and its parent goes on."""

from __future__ import annotations

import json
import logging
import time
from datetime import date
from typing import Any

import pytest
from celery import Celery
from pydantic import BaseModel

from celery_defer import (
    Defer,
    DeferError,
    IdError,
    NotDeferredError,
    PayloadError,
    defer,
    deferred,
    run_id,
)
from tests.support.inside import WatchedStore, Worker, ids_of, parent_of


def test_a_payload_nested_too_deep_for_json_readers_is_skipped(
    run: Any, app: Celery, worker: Worker
) -> None:
    @deferred(app)
    def take(value: Any) -> None: ...

    deep: list[Any] = []
    for _ in range(220):
        deep = [deep]

    def body() -> Any:
        return [defer("good", take, 1).skipped, defer("deep", take, deep).skipped]

    good, bad = run(body).get()

    assert good is None
    assert "is not JSON" in bad
    assert len(worker.published()) == 1


@pytest.mark.parametrize(
    "value",
    [10**5000, -(10**5000), [1, [10**5000]], {"n": 10**5000}],
    ids=["number", "negative", "nested", "named"],
)
def test_a_number_of_too_many_digits_does_not_take_the_other_calls_with_it(
    value: Any, run: Any, app: Celery, worker: Worker, store: WatchedStore
) -> None:
    @deferred(app)
    def take(value: Any) -> None: ...

    def body() -> Any:
        return [defer("good", take, 1).skipped, defer("bad", take, value).skipped]

    good, bad = run(body).get()

    assert good is None
    assert "is not JSON" in bad
    assert ids_of(worker.published()) == ["good"]
    assert store.quarantined() == []


@pytest.mark.parametrize(
    "headers", [{"n": 10**5000}, {"name": "\ud800"}, {"\ud800": 1}], ids=["number", "value", "key"]
)
def test_a_header_that_is_not_json_does_not_take_the_other_calls_with_it(
    headers: Any, run: Any, receipt: Any, worker: Worker, store: WatchedStore
) -> None:
    def body() -> Any:
        defer("good", receipt, 1)
        return defer("bad", receipt.with_options(headers=headers), 2).skipped

    result = run(body)

    assert "are not JSON" in result.get()
    assert ids_of(worker.published()) == ["good"]
    assert worker.app.AsyncResult(run_id(result.id, "bad")).state == "SKIPPED"


class RudeHandler(logging.Handler):
    def handle(self, record: logging.LogRecord) -> bool:
        raise OSError("the log server is away")


def test_a_log_handler_that_raises_does_not_fail_the_parent(
    run: Any, receipt: Any, worker: Worker, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> Any:
        defer("good", receipt, 1)
        return defer("bad", receipt, "no number").skipped

    handler, ours = RudeHandler(), logging.getLogger("celery_defer")
    ours.addHandler(handler)
    try:
        result = run(body)
    finally:
        ours.removeHandler(handler)

    assert "order_id" in result.get()
    assert ids_of(worker.published()) == ["good"]
    assert "the log server is away" in capsys.readouterr().err


def test_many_bad_calls_do_not_wait_for_a_broker_one_by_one() -> None:
    app = Celery("nowhere", broker="redis://127.0.0.1:1/0", backend="cache+memory://")
    Defer(app)
    app._celery_defer.store = None

    @deferred(app, shared=False)
    def take(n: int) -> None: ...

    def body() -> None:
        for n in range(20):
            defer(str(n), take, "no number")

    began = time.monotonic()
    result = Worker(app).perform(parent_of(app, body))

    assert result.state == "SUCCESS"
    assert time.monotonic() - began < 3


class Odd:
    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd")


@pytest.mark.parametrize("annotation", [Odd, "not valid!", "missing.attribute", "1 + 'a'"])
def test_a_bad_contract_skips_the_call(annotation: Any, run: Any, app: Celery) -> None:
    def take(value: Any) -> None: ...

    take.__annotations__["value"] = annotation
    broken = deferred(app.task(take))

    def body() -> Any:
        return defer("broken", broken, 1).skipped

    assert "cannot be deferred" in run(body).get()


class Rude(BaseModel):
    n: int

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def test_what_has_no_repr_is_skipped_all_the_same(run: Any) -> None:
    def body() -> Any:
        return [defer(Rude(n=1), None).skipped, defer("x", Rude(n=1)).skipped]  # type: ignore

    first, second = run(body).get()

    assert "<Rude> is not a non-empty string" in first
    assert "<Rude> is not a deferred function" in second


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
        pytest.param(
            lambda f: defer(f, "mail"), IdError, "the id comes first, then the task", id="order"
        ),
        pytest.param(
            lambda f: defer("m", f, 1, countdown=5),
            PayloadError,
            "no argument of it, but an option",
            id="an option",
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
        parent_of(app, lambda: call(receipt)).apply(throw=True)

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


def test_a_bad_call_for_a_failure_is_recorded_when_its_parent_fails(
    run: Any, receipt: Any, app: Celery
) -> None:
    def parent() -> None:
        defer("alarm", receipt.with_options(when="failure"), order_id="no")
        raise ValueError("no")

    result = run(parent)
    record = app.AsyncResult(run_id(result.id, "alarm"))

    assert (result.state, record.state) == ("FAILURE", "SKIPPED")
    assert "order_id" in record.info["reason"]


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


def test_what_was_refused_is_recorded_as_json_if_it_can_be(
    run: Any, receipt: Any, app: Celery
) -> None:
    day = date(2026, 11, 20)

    def parent() -> None:
        defer("named", receipt, order_id="seven", day=day)
        defer("given", receipt, "seven", 8)

    result = run(parent)

    assert [json.loads(_refused(app, result.id, id)) for id in ("named", "given")] == [
        {"order_id": "seven", "day": "2026-11-20"},
        {"args": ["seven", 8]},
    ]


def test_what_was_refused_is_recorded_as_text_where_it_has_no_json(
    run: Any, receipt: Any, app: Celery
) -> None:
    iterator = iter([1, 2])

    def parent() -> None:
        defer("object", receipt, order_id=Unwritable())
        defer("number", receipt, order_id="x", price=float("nan"))
        defer("iterator", receipt, order_id="x", of=iterator)
        defer("half", receipt, order_id="\ud800")
        defer("long", receipt, "x" * 100_000)
        defer("odd", receipt, Unshowable())

    result = run(parent)

    assert _refused(app, result.id, "object") == "({'order_id': Unwritable()},)"
    assert _refused(app, result.id, "number") == "({'order_id': 'x', 'price': nan},)"
    assert "iterator" in _refused(app, result.id, "iterator")
    assert list(iterator) == [1, 2]  # it is for others to read
    assert _refused(app, result.id, "half") == "({'order_id': '\\ud800'},)"
    assert len(_refused(app, result.id, "long")) < 1_100
    assert app.AsyncResult(run_id(result.id, "odd")).state == "SKIPPED"


def _refused(app: Celery, parent: str, id: str) -> str:
    text: str = app.AsyncResult(run_id(parent, id)).info["payload"]
    return text


class Unwritable:
    def __repr__(self) -> str:
        return "Unwritable()"


class Unshowable:
    def __repr__(self) -> str:
        raise ValueError("no")
