"""What a wait compares is read by the type of its event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, NewType
from uuid import UUID

import pydantic.dataclasses
import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    StringConstraints,
    TypeAdapter,
    field_serializer,
    field_validator,
    model_serializer,
)
from pydantic_core import from_json
from typing_extensions import NotRequired, TypedDict

from celery_defer.contract import JsonType
from celery_defer.errors import EventError
from celery_defer.events.schema import typed

Email = Annotated[str, StringConstraints(to_lower=True, strip_whitespace=True)]
Sku = NewType("Sku", str)

ID = UUID("6f2f6c1e-6c0b-5d0e-9a51-0d2c1c9b7f3a")


class Line(BaseModel):
    sku: str
    cents: int


class Order(BaseModel):
    id: UUID
    day: date
    lines: list[Line]
    gift: Line | None = None
    extra: dict[str, Any] = {}


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")


@dataclass
class Visit:
    page: str


class Click(TypedDict):
    x: int


class Color(Enum):
    RED = "red"


class Corner(Enum):
    TOP = (0, 1)


class Person(BaseModel):
    email: Email


@dataclass
class Reader:
    kind: ClassVar[str] = "reader"
    email: Email = ""
    tags: list[str] = field(default_factory=list)


@pydantic.dataclasses.dataclass
class Writer:
    phone: str = Field(default="", coerce_numbers_to_str=True)


class Guest(TypedDict):
    email: NotRequired[Email]
    name: Annotated[NotRequired[str], StringConstraints(to_lower=True)]


class Lower(BaseModel):
    model_config = ConfigDict(str_to_lower=True, ser_json_timedelta="float")

    email: str
    age: timedelta
    guest: Click | None = None
    reader: Reader | None = None


class Team(BaseModel):
    first: Annotated[Person | None, Field(description="who began")] = None
    all: Annotated[Sequence[Annotated[Person, Field()]], Field(min_length=1)]


class People(RootModel[dict[str, Person]]):
    pass


class Crew(RootModel[list[Person]]):
    pass


class Reply(BaseModel):
    word: str
    after: Reply | None = None

    @field_validator("word")
    @classmethod
    def _in_small_letters(cls, word: str) -> str:
        return word.lower()


class Code(BaseModel):
    number: int

    @field_serializer("number")
    def _as_text(self, number: int) -> str:
        return f"no. {number}"


class Wrapped(BaseModel):
    word: str

    @model_serializer
    def _inside(self) -> dict[str, str]:
        return {"in": self.word}


class Spot(NamedTuple):
    x: int


@dataclass
class Made:
    size: InitVar[int]
    word: str = ""


class Mixed(BaseModel):
    sku: Sku
    price: Decimal | None
    number: int | str
    size: Literal["s", "m"]
    color: Color
    corner: Corner
    odd: Annotated[int, PlainSerializer(lambda n: {"n": n})]
    either: Person | int
    names: list[str]


@pytest.mark.parametrize(
    ("schema", "wanted", "expected"),
    [
        (Order, {"id": ID}, {"id": str(ID)}),
        (Order, {"id": str(ID)}, {"id": str(ID)}),
        (Order, {"day": date(2030, 1, 2)}, {"day": "2030-01-02"}),
        (Order, {"lines.0.cents": "7"}, {"lines.0.cents": 7}),
        (Order, {"gift.sku": "a"}, {"gift.sku": "a"}),
        (Order, {"extra.anything": (1,)}, {"extra.anything": (1,)}),
        (Loose, {"whatever": 7}, {"whatever": 7}),
        (Visit, {"page": "home"}, {"page": "home"}),
        (Click, {"x": "3"}, {"x": 3}),
        (dict, {"x": "3"}, {"x": "3"}),
        (Order, None, None),
    ],
)
def test_a_value_is_what_the_event_will_have(
    schema: Any, wanted: dict[str, Any] | None, expected: dict[str, Any] | None
) -> None:
    assert typed("order/placed", schema, wanted) == expected


@pytest.mark.parametrize(
    ("schema", "data", "path"),
    [
        (Person, {"email": " Ada@X.org"}, "email"),
        (Reader, {"email": " Ada@X.org"}, "email"),
        (Writer, {"phone": 49}, "phone"),
        (Guest, {"name": "Ada", "email": " Ada@X.org"}, "email"),
        (Guest, {"name": "Ada", "email": " Ada@X.org"}, "name"),
        (Lower, {"email": "Ada@X.org", "age": timedelta(seconds=90)}, "email"),
        (Lower, {"email": "Ada@X.org", "age": timedelta(seconds=90)}, "age"),
        (
            Lower,
            {"email": "", "age": timedelta(0), "reader": {"tags": ["A"]}},
            "reader.tags",
        ),
        (Team, {"all": [{"email": "Ada@X.org"}]}, "all.0.email"),
        (Team, {"all": [{"email": ""}], "first": {"email": "Ada@X.org"}}, "first.email"),
        (Annotated[Person, BeforeValidator(dict)], {"email": "Ada@X.org"}, "email"),
        (Crew, [{"email": "Ada@X.org"}], "0.email"),
        (Reply, {"word": "Yes"}, "word"),
        (Reply, {"word": "", "after": {"word": "", "after": {"word": "Yes"}}}, "after.after.word"),
    ],
)
def test_a_value_is_changed_as_the_event_changes_it(schema: Any, data: Any, path: str) -> None:
    kind = JsonType(TypeAdapter(schema))
    value, sent = data, from_json(kind.dump(kind.check(data)))
    for part in path.split("."):
        key = int(part) if part.isdecimal() else part
        value, sent = value[key], sent[key]

    assert typed("order/placed", schema, {path: value}) == {path: sent}
    assert value != sent or isinstance(value, list)


class Paid(BaseModel):
    at: datetime
    in_utc: Annotated[datetime, AfterValidator(lambda at: at.astimezone(timezone.utc))]


def test_one_moment_in_two_zones_is_one_value_only_where_the_type_says_so() -> None:
    there, here = "2030-01-01T14:00:00+02:00", "2030-01-01T12:00:00Z"

    assert typed("paid", Paid, {"at": there}) != typed("paid", Paid, {"at": here})
    assert typed("paid", Paid, {"in_utc": there}) == typed("paid", Paid, {"in_utc": here})


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        (int, "x"),
        (Mixed, "sku.x"),
        (Mixed, "price.x"),
        (Mixed, "number.0"),
        (Mixed, "size.x"),
        (Mixed, "color.value"),
        (Mixed, "names.first"),
        (Mixed, "names.0.x"),
        (Order, "id.hex"),
        (Order, "day.year"),
        (Person, "email.0"),
        (Team, "all.0.email.x"),
    ],
)
def test_a_path_below_a_plain_value_is_an_error_at_the_wait(schema: Any, path: str) -> None:
    with pytest.raises(EventError, match=f"match '{path}': .* what stands before it is "):
        typed("order/placed", schema, {path: 1})


def test_a_validator_that_fails_without_the_other_fields_is_an_error_at_the_wait() -> None:
    class Range(BaseModel):
        low: int
        high: Annotated[int, BeforeValidator(lambda n, info: n + info.data["low"])]

    with pytest.raises(EventError, match=r"match 'high' of event 'range' is 3: TypeError\("):
        typed("range", Range, {"high": 3})


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        (Mixed, "corner.1"),
        (Mixed, "odd.n"),
        (Mixed, "either.email"),
        (People, "ada.email"),
        (Order, "extra.a.b"),
        (Code, "number"),
        (Wrapped, "in"),
        (Spot, "0"),
    ],
)
def test_a_path_that_the_type_does_not_tell_of_is_left_as_it_is(schema: Any, path: str) -> None:
    assert typed("order/placed", schema, {path: "A"}) == {path: "A"}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"idd": ID}, r"match 'idd': an event 'order/placed' has no 'idd'; did you mean 'id'\?"),
        ({"gift.cent": 7}, "has no 'cent'; did you mean 'cents'"),
        (
            {"lines.0.cents.x": 7},
            r"match 'lines.0.cents.x': an event 'order/placed' has no 'x'; "
            r"what stands before it is int$",
        ),
        ({"zzz": 7}, "has no 'zzz'; there are id, day, lines, gift, extra"),
        ({"lines.0.cents": "many"}, r"match 'lines.0.cents' of event 'order/placed' is 'many': "),
    ],
)
def test_what_no_event_can_have_is_an_error_at_the_wait(
    wanted: dict[str, Any], message: str
) -> None:
    with pytest.raises(EventError, match=message):
        typed("order/placed", Order, wanted)


def test_what_only_makes_a_dataclass_is_no_part_of_its_event() -> None:
    with pytest.raises(EventError, match="has no 'size'; there are word"):
        typed("made", Made, {"size": 1})
