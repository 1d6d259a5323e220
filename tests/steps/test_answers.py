"""A step returns the same value in each turn of the run: equal, and of its type."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from celery import Celery
from pydantic import BaseModel, ConfigDict
from pydantic.version import version_short
from typing_extensions import TypedDict

from celery_defer import step
from celery_defer.testing import Simulation


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Line(BaseModel):
    sku: str
    price: Decimal
    # pydantic before 2.13 has other bytes in nested models for text alone.
    raw: bytes = b"\xff\x00" if version_short() >= "2.13" else b"text"


class Order(BaseModel):
    id: UUID
    at: datetime
    lines: tuple[Line, ...] = ()
    color: Color = Color.RED


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)

    n: int


@dataclass(frozen=True)
class Point:
    x: float
    at: date
    tags: frozenset[str] = field(default_factory=frozenset)


class Pair(NamedTuple):
    left: int
    right: str


class Plain(TypedDict):
    n: Decimal


NOON = datetime(2030, 1, 1, 12, 0, 0, 123_456, tzinfo=timezone.utc)


def at() -> datetime:
    return NOON


def naive() -> datetime:
    return datetime(2030, 1, 1, 12)


def day() -> date:
    return date(2030, 1, 1)


def pause() -> timedelta:
    return timedelta(days=2, microseconds=3)


def uuid() -> UUID:
    return UUID(int=2**100)


def money() -> Decimal:
    return Decimal("1.2300")


def order() -> Order:
    return Order(id=UUID(int=1), at=NOON, lines=(Line(sku="a", price=Decimal("0.10")),))


def frozen() -> Frozen:
    return Frozen(n=2**60)


def point() -> Point:
    return Point(0.1, date(2030, 1, 1), frozenset({"a"}))


def raw() -> bytes:
    return b"\x00\xff\xfe"


def color() -> Color:
    return Color.BLUE


def row() -> tuple[int, str, Decimal]:
    return 1, "b", Decimal("0.30")


def pair() -> Pair:
    return Pair(1, "b")


def typed() -> Plain:
    return {"n": Decimal("1.10")}


def mapped() -> dict[UUID, list[datetime]]:
    return {UUID(int=3): [NOON]}


def perhaps() -> Order | None:
    return None


def several() -> set[int]:
    return {3, 1, 2}


def path() -> PurePosixPath:
    return PurePosixPath("/a/b")


def whole() -> int:
    return 2**80


def nothing() -> None:
    return None


FIRSTS: list[Callable[[], Any]] = [
    at, naive, day, pause, uuid, money, order, frozen, point, raw, color, row, pair, typed,
    mapped, perhaps, several, path, whole, nothing,
]  # fmt: skip


@pytest.mark.parametrize("fn", FIRSTS, ids=lambda fn: fn.__name__)
def test_a_step_answers_an_equal_value_of_its_type_in_each_pass(
    app: Celery, sim: Simulation, fn: Callable[[], Any]
) -> None:
    answers = []

    @app.task
    def parent() -> None:
        answers.append(step.run("first", fn))
        step.sleep("nap", 5)

    sim.run(parent)
    sim.advance("1h")

    assert answers == [fn(), fn()]
    assert {type(answer) for answer in answers} == {type(fn())}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (NOON, NOON),
        (b"\xff\x00", b"\xff\x00"),
        ({"raw": [b"text"]}, {"raw": [b"text"]}),
        (Decimal("1.50"), Decimal("1.50")),
        (math.inf, math.inf),
        ([-math.inf], [-math.inf]),
        ((1, 2), [1, 2]),
        ({"a": (1,), 2: None}, {"a": [1], "2": None}),
        (Color.RED, "red"),
        (Frozen(n=1), {"n": 1}),
        (UUID(int=1), UUID(int=1)),
        (0.1 + 0.2, 0.1 + 0.2),
        (2**80, 2**80),
        ("ß\x00\u2028", "ß\x00\u2028"),
        (True, True),
    ],
)
def test_a_step_without_annotation_answers_celerys_json_in_each_pass(
    app: Celery, sim: Simulation, value: Any, expected: Any
) -> None:
    answers = []

    @app.task
    def parent() -> None:
        answers.append(step.run("first", lambda: value))
        step.sleep("nap", 5)

    sim.run(parent)
    sim.advance("1h")

    assert answers == [expected, expected]


@pytest.mark.parametrize("annotation", [None, float, list[float], dict[str, Any]])
def test_a_nan_is_one_in_each_pass(app: Celery, sim: Simulation, annotation: Any) -> None:
    value = {list[float]: [math.nan], dict[str, Any]: {"a": math.nan}}.get(annotation, math.nan)

    def measure() -> Any:
        return value

    measure.__annotations__["return"] = annotation or Any
    answers = []

    @app.task
    def parent() -> None:
        answers.append(step.run("first", measure))
        step.sleep("nap", 5)

    sim.run(parent)
    sim.advance("1h")

    assert [repr(answer) for answer in answers] == [repr(value)] * 2


class Gateway:
    def charge(self, cents: int) -> Decimal:
        return Decimal(cents) / 100

    @classmethod
    def of(cls) -> UUID:
        return UUID(int=9)

    @staticmethod
    def fee() -> Decimal:
        return Decimal("0.25")


@pytest.mark.parametrize(
    ("fn", "args", "expected"),
    [
        (Gateway().charge, (150,), Decimal("1.5")),
        (Gateway.of, (), UUID(int=9)),
        (Gateway.fee, (), Decimal("0.25")),
        (partial(Gateway().charge, 250), (), Decimal("2.5")),
        (Frozen.model_validate, ({"n": 3},), {"n": 3}),
        (Decimal, ("1.50",), Decimal("1.50")),
        (dict, ([("a", 1)],), {"a": 1}),
        (max, (1, 2), 2),
        (UUID, (str(UUID(int=2)),), UUID(int=2)),
    ],
)
def test_each_kind_of_callable_may_be_a_step(
    app: Celery, sim: Simulation, fn: Callable[..., Any], args: tuple[Any, ...], expected: Any
) -> None:
    answers = []

    @app.task
    def parent() -> None:
        answers.append(step.run("first", fn, *args))
        step.sleep("nap", 5)

    sim.run(parent)
    sim.advance("1h")

    assert answers[0] == answers[1]
    assert answers[1] == expected or type(answers[1]) is Frozen


def test_a_callable_object_answers_by_its_annotation(app: Celery, sim: Simulation) -> None:
    class Charge:
        def __call__(self) -> Decimal:
            return Decimal("0.5")

    answers = []

    @app.task
    def parent() -> None:
        answers.append(step.run("first", Charge()))
        step.sleep("nap", 5)

    sim.run(parent)
    sim.advance("1h")

    assert answers == [Decimal("0.5")] * 2


def test_a_task_may_be_a_step_and_joins_the_run(app: Celery, sim: Simulation) -> None:
    @app.task
    def price() -> Decimal:
        return Decimal("0.5")

    answers = []

    @app.task
    def parent() -> None:
        answers.append(step.run("price", price))
        step.sleep("nap", 5)

    sim.run(parent)
    sim.advance("1h")

    assert answers == [Decimal("0.5")] * 2


def test_a_step_takes_arguments_of_any_name(app: Celery, sim: Simulation) -> None:
    def keep(*args: int, **named: int) -> list[Any]:
        return [*args, named]

    @app.task
    def parent() -> Any:
        return step.run("keep", keep, 1, id=2, fn=3, self=4, name=5)

    assert sim.run(parent).result == [1, {"id": 2, "fn": 3, "self": 4, "name": 5}]


def test_a_replay_does_not_share_what_the_body_has_changed(app: Celery, sim: Simulation) -> None:
    seen = []

    @app.task
    def parent() -> None:
        rows = step.run("rows", lambda: [1])
        rows.append(2)
        seen.append(list(rows))
        step.sleep("nap", 5)

    sim.run(parent)
    sim.advance("1h")

    assert seen == [[1, 2], [1, 2]]
