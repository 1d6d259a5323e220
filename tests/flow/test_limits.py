"""What a delivery asks of the gates of its function."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, Field

from celery_defer import (
    Batch,
    CancelOn,
    Concurrency,
    Debounce,
    LimitKeyError,
    PayloadError,
    Priority,
    RateLimit,
    Singleton,
    Throttle,
)
from celery_defer.contract import Contract
from celery_defer.encoding import read
from celery_defer.flow import Ask, Gate, Idempotency, Kind, Limits
from celery_defer.ids import RunId


class Customer(BaseModel):
    id: int
    plans: list[str] = []


class Order(BaseModel):
    customer: Customer | None = None
    number: int = Field(7, alias="no")


def by_order(order: Order) -> None: ...


def by_orders(orders: list[Order]) -> None: ...


def by_arguments(
    customer_id: int, /, order_id: int = 7, *more: int, note: str | None = None, **rest: Any
) -> None: ...


ARGUMENTS = Contract.of("shop.ship", by_arguments)
ORDER = Contract.of("shop.ship", by_order, Order)
ORDERS = Contract.of("shop.ship", by_orders, Order, is_batch=True)


def asked(limits: Limits, contract: Contract, *args: Any, **kwargs: Any) -> Ask:
    """What the delivery of a deferred call asks."""
    sent_args, sent_kwargs = read(contract.pack(args, kwargs))
    return ask(limits, contract, sent_args, sent_kwargs)


def ask(limits: Limits, contract: Contract, args: Any, kwargs: Any) -> Ask:
    return limits.ask(
        RunId("run"), "shop.ship", "token", args, kwargs, lease=30, made=2.5, contract=contract
    )


def key_of(key: Any, contract: Contract, *args: Any, **kwargs: Any) -> str:
    limits = Limits(concurrency=(Concurrency(5, key),))
    return asked(limits, contract, *args, **kwargs).gates[0].key


def test_a_delivery_asks_all_gates_in_the_order_in_which_they_decide() -> None:
    limits = Limits(
        concurrency=(Concurrency(5, "customer_id"), Concurrency(50)),
        throttle=Throttle(100, "1h", burst=3, key="order_id"),
        rate_limit=RateLimit(9, "1m"),
        debounce=Debounce("30s", timeout="5m"),
        singleton=Singleton(mode="cancel"),
        idempotency=Idempotency("order_id"),
    )

    assert asked(limits, ARGUMENTS, 3).gates == (
        Gate(Kind.IDEMPOTENCY, "idempotency", "7", period=86_400.0),
        Gate(Kind.SINGLETON, "singleton", cancels=True),
        Gate(Kind.RATE_LIMIT, "rate_limit", limit=9, period=60.0),
        Gate(Kind.DEBOUNCE, "debounce", period=30.0, timeout=300.0),
        Gate(Kind.THROTTLE, "throttle", "7", limit=100, period=3600.0, burst=3),
        Gate(Kind.CONCURRENCY, "concurrency", "3", limit=5),
        Gate(Kind.CONCURRENCY, "concurrency.2", limit=50),
    )


def test_a_delivery_says_who_asks() -> None:
    limits = Limits(
        concurrency=(Concurrency(5),), priority=Priority(lambda call: call["order_id"] * 60)
    )

    assert asked(limits, ARGUMENTS, 3) == Ask(
        "shop.ship",
        RunId("run"),
        "token",
        (Gate(Kind.CONCURRENCY, "concurrency", limit=5),),
        lease=30,
        made=2.5,
        priority=420.0,
    )


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("customer_id", "3"),
        ("order_id", "7"),
        ("more", "[]"),
        ("note", "null"),
        ("rest", "{}"),
        (lambda call: call["customer_id"], "3"),
        (sorted, '["customer_id","more","note","order_id","rest"]'),
    ],
)
def test_a_key_reads_the_arguments_by_name_with_their_defaults(key: Any, text: str) -> None:
    assert key_of(key, ARGUMENTS, 3) == text


def test_a_key_reads_the_rest_of_the_arguments_by_the_names_of_their_parameters() -> None:
    assert key_of("more.1", ARGUMENTS, 3, 4, 5, 6) == "6"
    assert key_of("rest.size", ARGUMENTS, 3, size="L") == '"L"'
    assert key_of(lambda call: call["rest"], ARGUMENTS, 3, size="L") == '{"size":"L"}'


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("customer.id", "3"),
        ("customer.plans.0", '"gold"'),
        ("number", "7"),
        (lambda order: order.customer.id, "3"),
    ],
)
def test_a_key_reads_a_field_at_a_path_or_the_object_of_a_schema(key: Any, text: str) -> None:
    assert key_of(key, ORDER, customer={"id": "3", "plans": ["gold"]}) == text


def test_a_key_of_a_batch_is_that_of_its_first_payload() -> None:
    limits = Limits(batch=Batch(100, "1s", "customer.id"))
    args, kwargs = read(ORDERS.pack((), {"customer": {"id": 3}}))

    assert limits.batch_key(args, kwargs, ORDERS) == "3"
    assert key_of("customer.id", ORDERS, customer={"id": 3}) == "3"
    assert key_of(lambda order: order.customer.id, ORDERS, customer={"id": 3}) == "3"


def test_a_message_by_delay_has_the_keys_of_a_deferred_call() -> None:
    limits = Limits(concurrency=(Concurrency(5, "number"),), applies_to_all=True)

    assert ask(limits, ORDER, [{"no": "7"}], {}).gates[0].key == "7"
    assert ask(limits, ORDER, [{}], {}).gates[0].key == "7"
    assert ask(limits, ORDER, [{"number": "7"}], {}).gates[0].key == "7"


def test_a_message_that_leaves_out_a_default_has_its_key() -> None:
    limits = Limits(concurrency=(Concurrency(5, "number"),))

    assert ask(limits, ORDER, [{}], {}).gates[0].key == "7"


def test_a_field_is_read_without_validation() -> None:
    limits = Limits(concurrency=(Concurrency(5, "number"),))

    assert ask(limits, ORDER, [{"number": 7, "customer": "broken"}], {}).gates[0].key == "7"


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("customer.id", "'customer.id', and the payload has no such value"),
        (lambda order: order.customer.id, "raised AttributeError"),
        (lambda order: order.customer["id"], "raised TypeError"),
        (lambda order: object(), "not JSON"),
        (lambda order: 10**5000, "not JSON"),
    ],
)
def test_a_key_without_a_value_is_an_error_that_names_the_limit(key: Any, reason: str) -> None:
    with pytest.raises(LimitKeyError, match=f"key of concurrency .*{reason}"):
        key_of(key, ORDER)


def test_a_cyclic_value_is_an_error_that_names_the_limit() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)

    with pytest.raises(LimitKeyError, match="key of concurrency"):
        key_of(lambda order: cycle, ORDER)


def test_an_error_of_ours_in_a_key_is_an_error_of_the_key() -> None:
    def key(order: Order) -> Any:
        raise PayloadError("by a key")

    with pytest.raises(LimitKeyError, match="by a key"):
        key_of(key, ORDER)


@pytest.mark.parametrize("seconds", [None, "soon", float("nan"), float("inf"), [1], True])
def test_a_priority_that_is_no_duration_is_an_error(seconds: Any) -> None:
    limits = Limits(concurrency=(Concurrency(5),), priority=Priority(lambda order: seconds))

    with pytest.raises(
        LimitKeyError, match=r"function of priority returned no duration, but \w+: "
    ):
        asked(limits, ORDER)


@pytest.mark.parametrize(("seconds", "passes"), [(-60, -60.0), ("2m", 120.0), (0, 0.0)])
def test_a_priority_is_a_duration_of_any_sign(seconds: Any, passes: float) -> None:
    limits = Limits(concurrency=(Concurrency(5),), priority=Priority(lambda order: seconds))

    assert asked(limits, ORDER).priority == passes


def test_a_payload_that_cannot_be_read_is_an_error_of_the_payload() -> None:
    limits = Limits(concurrency=(Concurrency(5, lambda order: order.number),))

    with pytest.raises(PayloadError):
        ask(limits, ORDER, [{"number": "seven"}], {})


def test_what_cancels_a_run_has_the_values_of_its_payload() -> None:
    cancel = CancelOn("stop", {"user.id": "customer.id", "no": lambda order: order.number})
    args, kwargs = read(ORDER.pack((), {"customer": {"id": 3}}))

    found = Limits(cancel_on=(cancel,)).cancels(args, kwargs, ORDER)

    assert found == [(cancel, {"user.id": 3, "no": 7})]


def test_a_function_that_only_ends_runs_has_no_gates() -> None:
    assert not Limits(cancel_on=(CancelOn("stop"),), batch=Batch(1, 1)).has_gates
    assert Limits(concurrency=(Concurrency(5),)).has_gates
    assert Limits(singleton=Singleton()).has_gates
