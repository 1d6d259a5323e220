"""A call for whose limits there is no key is skipped, and its parent goes on."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from pydantic import BaseModel

from celery_defer import (
    Batch,
    CancelOn,
    Concurrency,
    LimitKeyError,
    Priority,
    Singleton,
    Throttle,
    defer,
    deferred,
    run_id,
    step,
)
from celery_defer.testing import Simulation
from tests.support.inside import Worker


class Customer(BaseModel):
    id: int


class Order(BaseModel):
    id: int
    customer: Customer | None = None


OPTIONS: list[Any] = [
    {"concurrency": Concurrency(5, "customer.id")},
    {"concurrency": (Concurrency(5), Concurrency(5, lambda order: order.customer.id))},
    {"throttle": Throttle(5, "1h", key="customer.id")},
    {"singleton": Singleton("customer.id")},
    {"idempotency": "customer.id"},
    {"cancel_on": [CancelOn("stop", {"id": "customer.id"})]},
    {"concurrency": Concurrency(5), "priority": Priority(lambda order: order.customer.id)},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: next(iter(options)))
def test_a_call_without_a_key_is_skipped_with_the_reason(
    app: Celery, run: Any, worker: Worker, options: Any
) -> None:
    @deferred(app, schema=Order, **options)
    def ship(order: Order) -> None: ...

    def body() -> Any:
        return [defer("a", ship, id=7).skipped, defer("b", ship, id=7, customer={"id": 3}).skipped]

    result = run(body)
    without, with_key = result.get()

    assert f"of {next(reversed(options))}" in without.replace(".2", "")
    assert with_key is None
    assert [message.headers["id"] for message in worker.published()] == [run_id(result.id, "b")]


def test_a_call_without_the_key_of_its_batch_is_skipped(app: Celery, run: Any) -> None:
    @deferred(app, schema=Order, batch=Batch(5, "1s", key="customer.id"))
    def ship(orders: list[Order]) -> None: ...

    skipped = run(lambda: defer("a", ship, id=7).skipped).get()

    assert skipped == "the key of batch is 'customer.id', and the payload has no such value"


def test_a_strict_call_without_a_key_raises(app: Celery, run: Any) -> None:
    app.conf.defer_strict = True

    @deferred(app, concurrency=Concurrency(5, lambda call: call["rest"]["size"]))
    def pack(**rest: int) -> None: ...

    def body() -> str:
        with pytest.raises(LimitKeyError) as raised:
            defer("a", pack)
        return str(raised.value)

    assert run(body).get() == "the key of concurrency raised KeyError('size')"


def test_a_payload_that_does_not_fit_is_told_before_a_key_is_looked_for(
    app: Celery, run: Any
) -> None:
    @deferred(app, schema=Order, concurrency=Concurrency(5, "customer.id"))
    def ship(order: Order) -> None: ...

    skipped = run(lambda: defer("a", ship, id="seven").skipped).get()

    assert skipped.startswith("payload of ")


def test_an_invocation_without_a_key_is_a_step_that_has_failed(
    app: Celery, sim: Simulation
) -> None:
    keys = iter([None, 3, 3])

    @deferred(app, schema=Order, concurrency=Concurrency(5, lambda order: 7 // (next(keys) or 0)))
    def ship(order: Order) -> None: ...

    @app.task
    def parent() -> str:
        try:
            step.invoke("ship", ship, id=7)
        except LimitKeyError as error:
            step.sleep("nap", 5)
            return str(error)
        return "shipped"

    run = sim.run(parent)
    sim.advance("1m")

    assert "the key of concurrency raised ZeroDivisionError" in run.result
    assert run.children == []
