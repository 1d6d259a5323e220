"""Rules 2.2, 2.4, 2.5: the contract, and the way through JSON."""

from __future__ import annotations

import dataclasses
import enum
import math
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, SecretStr, computed_field
from pydantic.version import version_short
from pydantic_core import from_json
from typing_extensions import NotRequired, TypedDict

from celery_defer.contract import Contract, returns
from celery_defer.encoding import loads
from celery_defer.errors import ContractError, PayloadError


class Colour(enum.Enum):
    RED = "red"
    TWO = 2


class Inner(BaseModel):
    raw: bytes
    ratio: float
    tags: frozenset[str] = frozenset()


@dataclasses.dataclass
class Point:
    x: int
    inner: Inner


class Everything(BaseModel):
    when: datetime
    day: date
    clock: time
    span: timedelta
    id: UUID
    price: Decimal
    colour: Colour
    raw: bytes
    count: int
    ratio: float
    inner: Inner
    points: list[Point]
    by_name: dict[str, Inner]
    pair: tuple[int, str]
    maybe: Inner | None


# What pydantic could not do before: see `_ANEW` in celery_defer/contract/json_type.py.
nested_bytes = st.binary() if version_short() >= "2.13" else st.just(b"")
nested_floats = st.floats(allow_nan=False, allow_infinity=version_short() >= "2.13")
any_bytes = pytest.mark.skipif(version_short() < "2.13", reason="pydantic before 2.13")

text = st.text(st.characters(exclude_categories=["Cs"]))
inners = st.builds(
    Inner,
    raw=nested_bytes,
    ratio=nested_floats,
    tags=st.frozensets(text),
)
zones = st.sampled_from([timezone.utc, timezone(timedelta(hours=5, minutes=45))])
everything = st.builds(
    Everything,
    when=st.datetimes(timezones=st.one_of(st.none(), zones)),
    day=st.dates(),
    clock=st.times(),
    span=st.timedeltas(),
    id=st.uuids(),
    price=st.decimals(allow_nan=False, allow_infinity=False),
    colour=st.sampled_from(Colour),
    raw=nested_bytes,
    count=st.integers(),
    ratio=nested_floats,
    inner=inners,
    points=st.lists(st.builds(Point, x=st.integers(), inner=inners), max_size=3),
    by_name=st.dictionaries(text, inners, max_size=3),
    pair=st.tuples(st.integers(), text),
    maybe=st.none() | inners,
)


def arrive(function: Any, *args: Any, schema: Any = None, **kwargs: Any) -> Any:
    """Send a call through the wire and answer what the function is called with."""
    agreed = Contract.of("task", function, schema)
    sent_args, sent_kwargs = loads(agreed.pack(args, kwargs))  # as a worker does
    return agreed.unpack(sent_args, sent_kwargs)


def take_one(value: Everything) -> None: ...


def take_schema(order: Any) -> None: ...


@given(everything)
def test_every_value_arrives_equal_to_what_was_sent(value: Everything) -> None:
    args, kwargs = arrive(take_one, value)

    assert (list(args), kwargs) == ([value], {})


@given(everything)
def test_a_schema_arrives_equal_to_the_fields_that_were_named(value: Everything) -> None:
    fields = {name: getattr(value, name) for name in Everything.model_fields}

    (arrived,), _ = arrive(take_schema, schema=Everything, **fields)

    assert arrived == value


def every_kind(
    a: int, /, b: bytes, *rest: float, c: Decimal = Decimal(1), **extra: Inner
) -> None: ...


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((1, b"\xff"), {}),
        ((1,), {"b": b"\xff", "c": Decimal("0.10")}),
        ((1, b"", math.inf, -math.inf), {"c": Decimal("1E+400")}),
        pytest.param((2**70, b"x"), {"x": Inner(raw=b"\xfe", ratio=1)}, marks=any_bytes),
    ],
)
def test_every_kind_of_parameter_arrives_as_it_was_given(args: Any, kwargs: Any) -> None:
    def bind(args: Any, kwargs: Any) -> dict[str, Any]:
        import inspect  # noqa: PLC0415

        return dict(inspect.signature(every_kind).bind(*args, **kwargs).arguments)

    assert bind(*arrive(every_kind, *args, **kwargs)) == bind(args, kwargs)


def test_json_is_made_of_what_was_validated_not_of_what_was_given() -> None:
    def take(count: int, price: Decimal) -> None: ...

    assert arrive(take, "7", price="0.10") == ([7], {"price": Decimal("0.10")})


def test_a_later_change_does_not_reach_the_payload() -> None:
    def take(items: list[int]) -> None: ...

    items = [1]
    payload = Contract.of("task", take).pack([items], {})
    items.append(2)

    assert from_json(payload) == [[[1]], {}]


class Aliased(BaseModel):
    model_config = ConfigDict(extra="forbid")
    order_id: Annotated[str, Field(alias="orderId")]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def shown(self) -> str:
        return self.order_id.upper()


@pytest.mark.parametrize("name", ["order_id", "orderId"])
def test_a_field_may_be_named_by_its_name_or_its_alias(name: str) -> None:
    (arrived,), _ = arrive(take_schema, schema=Aliased, **{name: "o-1"})

    assert arrived == Aliased(orderId="o-1")


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    at: datetime
    raw: bytes


def test_a_strict_model_arrives() -> None:
    (arrived,), _ = arrive(take_schema, schema=Strict, at=datetime(2026, 1, 1), raw=b"\xff")

    assert arrived == Strict(at=datetime(2026, 1, 1), raw=b"\xff")


class Hex(BaseModel):
    model_config = ConfigDict(ser_json_bytes="hex", val_json_bytes="hex")
    raw: bytes


def test_a_model_that_says_how_its_bytes_travel_is_believed() -> None:
    payload = Contract.of("task", take_schema, Hex).pack([], {"raw": b"\xff"})

    assert payload == b'[[{"raw":"ff"}],{}]'


class Click(TypedDict):
    x: int
    y: NotRequired[int]


@pytest.mark.parametrize(
    ("schema", "fields", "expected"),
    [
        (Click, {"x": 1}, {"x": 1}),
        (
            Point,
            {"x": 1, "inner": Inner(raw=b"x", ratio=0)},
            Point(1, Inner(raw=b"x", ratio=0)),
        ),
    ],
)
def test_a_schema_may_be_a_typed_dict_or_a_dataclass(
    schema: Any, fields: Any, expected: Any
) -> None:
    (arrived,), _ = arrive(take_schema, schema=schema, **fields)

    assert arrived == expected


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: list[bytes]


def test_a_union_arrives_as_the_member_it_was() -> None:
    def take(pet: Annotated[Cat | Dog, Field(discriminator="kind")]) -> None: ...

    take.__annotations__["pet"] = Annotated[Cat | Dog, Field(discriminator="kind")]

    assert arrive(take, Dog(tricks=[b"x"])) == ([Dog(tricks=[b"x"])], {})


def needs(order_id: int, raw: bytes) -> None: ...


@pytest.mark.parametrize(
    ("args", "kwargs", "problems"),
    [
        ((), {}, ["order_id: Field required", "raw: Field required"]),
        (
            (),
            {"order_id": "x", "raw": 1},
            ["order_id: Input should be a valid integer", "raw: Input"],
        ),
        ((1, b"", 3), {}, ["takes 2 positional arguments, not 3"]),
        ((1,), {"order_id": 1, "raw": b""}, ["got order_id twice"]),
        ((1, b""), {"usr": 1}, ["usr: Extra inputs are not permitted"]),
        ((object(), b""), {}, ["order_id"]),
    ],
)
def test_a_bad_call_is_told_every_problem(args: Any, kwargs: Any, problems: list[str]) -> None:
    with pytest.raises(PayloadError) as caught:
        Contract.of("shop.needs", needs).pack(args, kwargs)

    assert "shop.needs" in str(caught.value)
    assert all(problem in str(caught.value) for problem in problems)


def test_a_field_that_the_model_would_ignore_is_refused() -> None:
    with pytest.raises(PayloadError, match=r"usr: Inner has no such field"):
        Contract.of("task", take_schema, Inner).pack([], {"raw": b"", "ratio": 1, "usr": 3})


def test_a_schema_takes_no_positional_argument() -> None:
    with pytest.raises(PayloadError, match="fields of Inner by name"):
        Contract.of("task", take_schema, Inner).pack([Inner(raw=b"", ratio=1)], {})


def test_a_value_that_json_cannot_hold_is_refused_with_the_task_named() -> None:
    def take(value: Any) -> None: ...

    with pytest.raises(PayloadError, match="payload of task is not JSON"):
        Contract.of("task", take).pack([object()], {})


def test_a_validator_that_raises_anything_makes_a_payload_error() -> None:
    class Odd(BaseModel):
        n: int

        def model_post_init(self, context: Any) -> None:
            raise KeyError("odd")

    with pytest.raises(PayloadError, match="KeyError"):
        Contract.of("task", take_schema, Odd).pack([], {"n": 1})


def test_a_message_that_does_not_fit_lists_every_problem_as_plain_text() -> None:
    with pytest.raises(PayloadError) as caught:
        Contract.of("shop.needs", needs).unpack([], {"order_id": "x", "more": 1})

    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "order_id",
        "raw",
        "more",
    ]


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2), {}), ((), {"other": {}}), (({},), {"x": 1})]
)
def test_a_message_without_its_one_payload_is_refused(args: Any, kwargs: Any) -> None:
    with pytest.raises(PayloadError, match="does not carry one Click"):
        Contract.of("task", take_schema, Click).unpack(args, kwargs)


def test_the_payload_of_a_keyword_only_parameter_travels_under_its_name() -> None:
    def take(*, order: Any) -> None: ...

    assert arrive(take, schema=Click, x=1) == ((), {"order": {"x": 1}})


class Unknown:
    pass


def takes_unknown(value: Unknown) -> None: ...


def takes_two(order: Any, more: Any) -> None: ...


def takes_none() -> None: ...


def takes_secret(password: SecretStr) -> None: ...


def test_a_type_without_a_json_schema_may_be_taken() -> None:
    def take(value: Annotated[int, PlainValidator(int)]) -> None: ...

    take.__annotations__["value"] = Annotated[int, PlainValidator(int)]

    assert arrive(take, 7) == ([7], {})


@pytest.mark.parametrize(
    ("function", "schema", "words"),
    [
        (takes_secret, None, "takes a pydantic Secret, which"),
        (takes_unknown, None, "cannot be deferred"),
        (takes_two, Click, "one payload parameter; it has: order, more"),
        (takes_none, Click, "one payload parameter; it has: none"),
    ],
)
def test_a_signature_that_cannot_be_a_contract_is_refused(
    function: Any, schema: Any, words: str
) -> None:
    with pytest.raises(ContractError, match=words):
        Contract.of("shop.task", function, schema)


class Late:
    @classmethod
    def __get_pydantic_core_schema__(cls, *_: object) -> Any:
        raise SoftTimeLimitExceeded


def test_a_soft_time_limit_gets_through_while_a_contract_is_read() -> None:
    def take(what: Late) -> None: ...

    with pytest.raises(SoftTimeLimitExceeded):
        Contract.of("task", take)


def test_a_soft_time_limit_gets_through_while_a_return_type_is_read() -> None:
    def make() -> Late: ...

    with pytest.raises(SoftTimeLimitExceeded):
        returns.of_function(make)
