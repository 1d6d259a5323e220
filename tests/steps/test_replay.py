"""A step answers the same on the first pass and on each replay; a repeated id is numbered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from functools import partial
from itertools import count
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from celery import Celery
from pydantic import BaseModel, ConfigDict
from pydantic.version import version_short
from typing_extensions import TypedDict

from celery_defer import IdError, NoRunError, StepError, step
from celery_defer.run.memo import Memo, pack
from celery_defer.steps.replay import Note, Replay
from tests.support.stage import Stage


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
    app: Celery, stage: Stage, fn: Callable[[], Any]
) -> None:
    answers = []

    @app.task
    def parent() -> None:
        answers.append(step.run("first", fn))
        step.sleep("nap", 5)

    stage.finish(parent)

    assert answers == [fn(), fn()]
    assert {type(answer) for answer in answers} == {type(fn())}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (NOON, "2030-01-01T12:00:00.123456Z"),
        ((1, 2), [1, 2]),
        ({"a": (1,), 2: None}, {"a": [1], "2": None}),
        (Color.RED, "red"),
        (Frozen(n=1), {"n": 1}),
        (UUID(int=1), str(UUID(int=1))),
        (0.1 + 0.2, 0.1 + 0.2),
        (2**80, 2**80),
        ("ß\x00\u2028", "ß\x00\u2028"),
        (True, True),
    ],
)
def test_a_step_without_annotation_answers_json_in_each_pass(
    app: Celery, stage: Stage, value: Any, expected: Any
) -> None:
    answers = []

    @app.task
    def parent() -> None:
        answers.append(step.run("first", lambda: value))
        step.sleep("nap", 5)

    stage.finish(parent)

    assert answers == [expected, expected]


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
    app: Celery, stage: Stage, fn: Callable[..., Any], args: tuple[Any, ...], expected: Any
) -> None:
    answers = []

    @app.task
    def parent() -> None:
        answers.append(step.run("first", fn, *args))
        step.sleep("nap", 5)

    stage.finish(parent)

    assert answers[0] == answers[1]
    assert answers[1] == expected or type(answers[1]) is Frozen


def test_a_callable_object_answers_by_its_annotation(app: Celery, stage: Stage) -> None:
    class Charge:
        def __call__(self) -> Decimal:
            return Decimal("0.5")

    answers = []

    @app.task
    def parent() -> None:
        answers.append(step.run("first", Charge()))
        step.sleep("nap", 5)

    stage.finish(parent)

    assert answers == [Decimal("0.5")] * 2


def test_a_task_may_be_a_step_and_joins_the_run(app: Celery, stage: Stage) -> None:
    @app.task
    def price() -> Decimal:
        return Decimal("0.5")

    answers = []

    @app.task
    def parent() -> None:
        answers.append(step.run("price", price))
        step.sleep("nap", 5)

    stage.finish(parent)

    assert answers == [Decimal("0.5")] * 2


def test_a_step_takes_arguments_of_any_name(app: Celery, stage: Stage) -> None:
    def keep(*args: int, **named: int) -> list[Any]:
        return [*args, named]

    @app.task
    def parent() -> Any:
        return step.run("keep", keep, 1, id=2, fn=3, self=4, name=5)

    assert stage.finish(parent).result == [1, {"id": 2, "fn": 3, "self": 4, "name": 5}]


def test_a_replay_does_not_share_what_the_body_has_changed(app: Celery, stage: Stage) -> None:
    seen = []

    @app.task
    def parent() -> None:
        rows = step.run("rows", lambda: [1])
        rows.append(2)
        seen.append(list(rows))
        step.sleep("nap", 5)

    stage.finish(parent)

    assert seen == [[1, 2], [1, 2]]


def test_a_step_runs_once_in_a_run_and_again_in_the_next_run(app: Celery, stage: Stage) -> None:
    calls = []

    @app.task
    def parent(n: int) -> int:
        answer = step.run("first", lambda: calls.append(n) or n)
        step.sleep("nap", 5)
        return answer

    assert stage.finish(parent, 1).result == 1
    assert stage.finish(parent, 2).result == 2
    assert calls == [1, 2]


def test_a_repeated_id_is_numbered_in_order(app: Celery, stage: Stage) -> None:
    calls, answers = list[int](), list[list[int]]()

    def note(n: int) -> int:
        calls.append(n)
        return n * 10

    @app.task
    def parent() -> None:
        found = []
        answers.append(found)
        for n in range(3):
            found.append(step.run("one", note, n))
            step.sleep("nap", 5)

    stage.finish(parent)

    assert calls == [0, 1, 2]
    assert answers[-1] == [0, 10, 20]


def test_each_kind_of_step_counts_in_one_row_of_ids() -> None:
    replay = Replay()

    keys = [replay.key(id) for id in ("a", "a", "b", "a:1", "a", "a:1", "b:1", "b")]

    assert keys == ["a", "a:1", "b", "a:1:1", "a:2", "a:1:2", "b:1", "b:2"]
    assert len(set(keys)) == len(keys)


def test_ten_thousand_steps_of_one_id_are_numbered_in_no_time() -> None:
    replay = Replay()

    for _ in range(10_000):
        replay.key("one")

    assert replay.key("one") == "one:10000"


@pytest.mark.parametrize("id", ["", None, 3, b"id", "\ud800"])
def test_an_id_is_text(app: Celery, stage: Stage, id: Any) -> None:
    @app.task
    def parent() -> None:
        step.run(id, int)

    result = stage.finish(parent)

    assert isinstance(result.result, IdError)
    assert "step id" in str(result.result)


def test_ids_of_any_text_are_told_apart(app: Celery, stage: Stage) -> None:
    ids = ["a", "a ", "A", "ä", "a\n", "a:1", "m:a", "w:a", "turn", "since", "cancelled", "a" * 999]

    @app.task
    def parent() -> list[str]:
        answers = [step.run(id, str, id) for id in ids]
        step.sleep("nap", 5)
        return answers

    assert stage.finish(parent).result == ids


def test_a_step_outside_a_run_is_an_error() -> None:
    with pytest.raises(NoRunError, match="no run in progress"):
        step.run("first", int)
    with pytest.raises(NoRunError, match="no run in progress"):
        step.sleep("nap", 5)


class Unknown:
    """No type of pydantic's, and not JSON."""


def wrong() -> int:
    return "three"  # type: ignore[return-value]


def unknown() -> Unknown:
    return Unknown()


def gathered() -> Iterator[int]:
    yield object()  # type: ignore[misc]


def a_set() -> Any:
    return {object()}


def loop() -> Any:
    rows: list[Any] = []
    rows.append(rows)
    return rows


async def later() -> int:
    return 1


@pytest.mark.parametrize("fn", [unknown, a_set, loop, later, Unknown, wrong, gathered])
def test_what_is_not_json_fails_the_step_by_name(
    app: Celery, stage: Stage, fn: Callable[[], Any]
) -> None:
    @app.task
    def parent() -> None:
        step.run("first", fn)

    result = stage.finish(parent)

    assert isinstance(result.result, StepError)
    assert "step 'first' answered" in str(result.result)
    assert result.result.step == "first"


def test_an_answer_over_the_limit_fails_the_step_by_name(app: Celery, stage: Stage) -> None:
    app.conf.defer_max_payload_bytes = 100

    @app.task
    def parent() -> str:
        step.run("fits", lambda: "x" * 98)
        try:
            step.run("large", lambda: "ß" * 50)
        except StepError as error:
            return f"{error.step}: {error}"
        return "no error"

    result = stage.finish(parent).result

    assert result.startswith("large: step 'large' answered 102 bytes; defer_max_payload_bytes")


@pytest.mark.parametrize("fn", [a_set, lambda: "x" * 200])
def test_an_answer_that_cannot_be_kept_is_not_made_again_by_retries(
    app: Celery, stage: Stage, fn: Callable[[], Any]
) -> None:
    app.conf.defer_max_payload_bytes = 100
    charged = []

    def charge() -> Any:
        charged.append(1)
        return fn()

    @app.task
    def parent() -> None:
        step.run("charge", charge, retries=3)

    result = stage.finish(parent)

    assert charged == [1]
    assert isinstance(result.result, StepError)
    assert "step 'charge' answered" in str(result.result)


def test_a_model_that_has_changed_since_is_an_error_that_names_the_step(
    app: Celery, stage: Stage
) -> None:
    passes = []

    def old() -> str:
        return "text"

    def new() -> int:
        return 1

    @app.task
    def parent() -> None:
        passes.append(1)
        step.run("first", old if len(passes) == 1 else new)
        step.sleep("nap", 5)

    result = stage.finish(parent)

    assert isinstance(result.result, StepError)
    assert "step 'first' has answered \"text\"" in str(result.result)


def test_a_memo_is_read_from_the_first_that_was_written() -> None:
    replay = Replay(memos={"a": pack(Memo("1"))}, waits={"b": Note(2).pack()})

    found, note = replay.memo("a"), replay.note("b")

    assert found == Memo("1")
    assert note == Note(2)
    assert replay.memo("b") is None
    assert replay.note("a") is None


def test_an_answer_of_another_type_is_not_said_to_be_no_json(app: Celery, stage: Stage) -> None:
    @app.task
    def parent() -> None:
        step.run("first", wrong)

    told = str(stage.finish(parent).result)

    assert "step 'first' answered str 'three', which is not what its function is annotated" in told
    assert "not JSON" not in told


def neither() -> int:
    return object()  # type: ignore[return-value]


def test_an_answer_without_json_is_said_to_be_none_whatever_the_annotation(
    app: Celery, stage: Stage
) -> None:
    @app.task
    def parent() -> None:
        step.run("first", neither)

    assert "which is not JSON" in str(stage.finish(parent).result)


def test_a_body_that_waits_elsewhere_each_time_fails_and_says_so(app: Celery, stage: Stage) -> None:
    numbers = count()

    @app.task
    def parent() -> None:
        step.sleep(f"nap {next(numbers)}", 5)

    result = stage.finish(parent)

    assert result.state == "FAILURE"
    assert isinstance(result.result, StepError)
    assert "has waited at step 'nap 2', and comes to 'nap 3' without it" in str(result.result)


def test_a_new_version_of_a_body_may_wait_elsewhere_once(
    app: Celery, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    versions = ["old", "new", "new", "new"]

    @app.task
    def parent() -> str:
        version = versions.pop(0)
        step.sleep(f"{version} nap", 5)
        step.sleep("another", 5)
        return version

    assert stage.finish(parent).get() == "new"
    assert "has waited at step 'old nap', and comes to 'new nap' without it" in caplog.text


def test_a_wait_that_is_over_may_be_removed(app: Celery, stage: Stage) -> None:
    turns = count()

    @app.task
    def parent() -> str:
        if next(turns) < 2:
            step.sleep("first", 5)
        step.sleep("second", 5)
        step.sleep("third", 5)
        return "done"

    assert stage.finish(parent).get() == "done"


def test_another_attempt_of_the_task_may_take_another_way(app: Celery, stage: Stage) -> None:
    @app.task(bind=True)
    def parent(self: object) -> str:
        step.sleep(f"nap {self.request.retries}", 5)  # type: ignore[attr-defined]
        if not self.request.retries:  # type: ignore[attr-defined]
            raise self.retry(countdown=0)  # type: ignore[attr-defined]
        return "rested"

    assert stage.finish(parent).get() == "rested"
