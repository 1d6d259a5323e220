"""A task gets from ``defer`` what ``apply_async`` gives it: by position, lazy, without a type."""

from __future__ import annotations

import enum
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any

import pytest
from celery import Celery, Task
from django.utils.functional import lazystr
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from celery_defer import defer, deferred
from celery_defer.contract import Contract
from celery_defer.encoding import dumps, loads
from celery_defer.errors import PayloadError
from celery_defer.testing import Simulation


def arrive(function: Any, *args: Any, schema: Any = None, **kwargs: Any) -> Any:
    """Send a call through the wire, and return the arguments of the function."""
    contract = Contract.of("task", function, schema)
    return contract.unpack(*loads(contract.pack(args, kwargs)))


# -- by position -----------------------------------------------------------------------------


def typed(a: int, b: int = 2, *, c: int = 3) -> None: ...


def untyped(a, b=2, *rest, c=3, **more): ...  # type: ignore[no-untyped-def]


def positional(a: int, b: int = 2, /, c: int = 3) -> None: ...


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (typed, [1, 5], {"c": 7}),
        (typed, [1], {"b": 5}),
        (typed, [], {"a": 1, "b": 5}),
        (untyped, [1, 5, 6], {"c": 7, "d": 8}),
        (untyped, [1], {"b": 5, "d": 8}),
        (positional, [1, 5, 6], {}),
        (positional, [1], {"c": 6}),
    ],
)
def test_what_is_passed_by_position_arrives_by_position(
    function: Any, args: list[Any], kwargs: dict[str, Any]
) -> None:
    arrived_args, arrived_kwargs = arrive(function, *args, **kwargs)

    assert (list(arrived_args), arrived_kwargs) == (args, kwargs)


def test_what_python_takes_by_position_only_is_refused_by_name() -> None:
    with pytest.raises(PayloadError, match="task takes b by position only"):
        Contract.of("task", positional).pack([1], {"b": 5})


class Shop:
    """What a row of a database is read as."""

    def __init__(self, pk: int) -> None:
        self.pk = pk


class ShopTask(Task):  # type: ignore[misc]
    """Takes a shop's number, and gives the function the shop."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if "shop" in kwargs:
            kwargs["shop"] = Shop(kwargs["shop"])
        else:
            args = (Shop(args[0]), *args[1:])
        return super().__call__(*args, **kwargs)


@pytest.mark.parametrize("is_named", [True, False])
def test_a_base_class_may_put_an_object_in_place_of_an_argument(
    app: Celery, sim: Simulation, is_named: bool
) -> None:
    @deferred
    @app.task(base=ShopTask)
    def close(shop, at: datetime):  # type: ignore[no-untyped-def]
        return shop.pk, at

    @app.task
    def parent() -> None:
        at = datetime(2030, 1, 1, tzinfo=timezone.utc)
        if is_named:
            defer("close", close, shop=7, at=at)
        else:
            defer("close", close, 7, at)

    run = sim.run(parent)
    sim.drain()

    assert run.deferred["close"].run.result == (7, datetime(2030, 1, 1, tzinfo=timezone.utc))


# -- lazy strings ----------------------------------------------------------------------------


class Mail(BaseModel):
    subject: str
    lines: list[str] = []


def mail(subject: str, to: list[str], context: dict[str, str] | None = None) -> None: ...


def plain_mail(subject, to, context=None): ...  # type: ignore[no-untyped-def]


LAZY = lazystr("Your order")


@pytest.mark.parametrize("function", [mail, plain_mail])
def test_a_lazy_string_is_the_string_that_it_stands_for(function: Any) -> None:
    args, kwargs = arrive(function, LAZY, to=[LAZY], context={LAZY: LAZY})

    text = "Your order"
    assert (list(args), kwargs) == ([text], {"to": [text], "context": {text: text}})
    assert {type(value) for value in [*args, *kwargs["to"]]} == {str}


def test_a_field_of_a_schema_takes_a_lazy_string() -> None:
    def send(mail: Mail) -> None: ...

    (arrived,), _ = arrive(send, schema=Mail, subject=LAZY, lines=[LAZY])

    assert arrived == Mail(subject="Your order", lines=["Your order"])


def test_a_lazy_string_where_a_number_belongs_is_refused_once() -> None:
    with pytest.raises(PayloadError) as caught:
        Contract.of("task", typed).pack([LAZY], {})

    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["a"]


# -- values without a type -------------------------------------------------------------------

zones = st.sampled_from([None, timezone.utc])
text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    text,
    st.binary(),
    st.datetimes(timezones=zones),
    st.dates(),
    st.times(),
    st.uuids(),
    st.decimals(allow_nan=False),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


class Anything(BaseModel):
    value: Any


def take(value, *rest, **more): ...  # type: ignore[no-untyped-def]


def take_typed(values: list[Any], by_name: dict[str, Any], maybe: Any | None = None) -> None: ...


def take_schema(order: Any) -> None: ...


@given(values)
def test_a_value_without_a_type_arrives_as_celerys_json_gives_it(value: Any) -> None:
    expected = loads(dumps(value))

    args, kwargs = arrive(take, value, value, named=value)
    _, in_types = arrive(take_typed, values=[value], by_name={"x": value}, maybe=value)
    (in_schema,), _ = arrive(take_schema, schema=Anything, value=value)

    assert (list(args), kwargs) == ([expected, expected], {"named": expected})
    assert in_types == {"values": [expected], "by_name": {"x": expected}, "maybe": expected}
    assert in_schema.value == expected


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "arrived"),
    [
        ({1, 2}, [1, 2]),
        ((1, date(2030, 1, 1)), [1, date(2030, 1, 1)]),
        (Colour.RED, "red"),
        (Mail(subject="x"), {"subject": "x", "lines": []}),
        ({1: time(12)}, {"1": time(12)}),
        ([Decimal("1.10"), {"x": [b"\xff"]}], [Decimal("1.10"), {"x": [b"\xff"]}]),
    ],
)
def test_what_celerys_json_does_not_have_arrives_as_pydantic_writes_it(
    value: Any, arrived: Any
) -> None:
    assert arrive(take, value) == ([arrived], {})


def test_a_value_that_no_worker_could_read_is_refused() -> None:
    """Celery's JSON takes a mapping with these two keys for a value of the type that it names."""
    with pytest.raises(PayloadError, match="is not JSON"):
        Contract.of("task", take).pack([{"__type__": "ship", "__value__": 1}], {})


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)

    with pytest.raises(PayloadError):
        Contract.of("task", take).pack([loop], {})


def test_in_eager_mode_too_values_without_a_type_are_objects(app: Celery) -> None:
    app.conf.task_always_eager = True
    seen: list[Any] = []

    @deferred
    @app.task
    def note(at, cents):  # type: ignore[no-untyped-def]
        seen.append((at, cents))

    @app.task
    def parent() -> None:
        defer("note", note, datetime(2030, 1, 1), cents=Decimal("1.10"))

    parent.delay()

    assert seen == [(datetime(2030, 1, 1), Decimal("1.10"))]


def test_the_kit_shows_them_as_the_task_gets_them(app: Celery, sim: Simulation) -> None:
    @deferred
    @app.task
    def note(at, context: dict[str, Any]) -> None: ...  # type: ignore[no-untyped-def]

    @app.task
    def parent() -> None:
        defer("note", note, datetime(2030, 1, 1), context={"cents": Decimal("1.10")})

    run = sim.run(parent)
    shown = run.deferred["note"].payload
    sim.drain()

    assert shown == {"at": datetime(2030, 1, 1), "context": {"cents": Decimal("1.10")}}
    assert run.deferred["note"].payload == shown
