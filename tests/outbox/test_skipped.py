"""A call of ``defer`` that cannot be made is skipped, and its parent goes on."""

from __future__ import annotations

import time
from typing import Any

import pytest
from celery import Celery
from pydantic import BaseModel

from celery_defer import Defer, defer, deferred
from tests.support.inside import Worker


def parent_of(app: Celery, body: Any, **options: Any) -> Any:
    @app.task(name="parent", **options)
    def parent() -> Any:
        return body()

    return parent


def test_a_payload_nested_too_deep_for_json_readers_is_skipped(app: Celery, worker: Worker) -> None:
    @deferred(app)
    def take(value: Any) -> None: ...

    deep: list[Any] = []
    for _ in range(220):
        deep = [deep]

    def body() -> Any:
        return [defer("good", take, 1).skipped, defer("deep", take, deep).skipped]

    good, bad = worker.run(parent_of(app, body)).get()

    assert good is None
    assert "is not JSON" in bad
    assert len(worker.published()) == 1


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
    result = Worker(app).perform(parent_of(app, body, shared=False))

    assert result.state == "SUCCESS"
    assert time.monotonic() - began < 3


class Odd:
    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd")


@pytest.mark.parametrize("annotation", [Odd, "not valid!", "missing.attribute", "1 + 'a'"])
def test_a_bad_contract_skips_the_call(annotation: Any, app: Celery, worker: Worker) -> None:
    def take(value: Any) -> None: ...

    take.__annotations__["value"] = annotation
    broken = deferred(app.task(take))

    def body() -> Any:
        return defer("broken", broken, 1).skipped

    assert "cannot be deferred" in worker.run(parent_of(app, body)).get()


class Rude(BaseModel):
    n: int

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def test_what_has_no_repr_is_skipped_all_the_same(app: Celery, worker: Worker) -> None:
    def body() -> Any:
        return [defer(Rude(n=1), None).skipped, defer("x", Rude(n=1)).skipped]  # type: ignore

    first, second = worker.run(parent_of(app, body)).get()

    assert "<Rude> is not a non-empty string" in first
    assert "<Rude> is not a deferred function" in second
