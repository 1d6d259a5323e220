"""What a score may be, and what it is not."""

from __future__ import annotations

import math
import pickle
from datetime import timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from typing import Any

import pytest

from celery_defer.errors import DeferError, NonRetriable, ScoreError
from celery_defer.scoring import Score


class Metric(str, Enum):
    TONE = "tone"


class Stars(IntEnum):
    FIVE = 5


@pytest.mark.parametrize(
    "name",
    [
        "x",
        "relevance",
        "a b",
        "(variant A)!",
        " x ",
        'say "hi"',
        "é" * 64,
        "x" * 128,
        "客户满意度",
        "👩\u200d💻",
        "a\u00a0b",
        "%s {} \\ / : * ?",
    ],
)
def test_a_name_that_is_taken(name: str) -> None:
    assert Score(name, 1).name == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is blank"),
        ("   ", "is blank"),
        ("\t\n", "is blank"),
        ("\u200b", "is blank"),
        ("\u3000", "is blank"),
        ("x" * 129, "has 129 bytes: 128 are the most"),
        ("é" * 65, "has 130 bytes"),
        ("a\nb", r"'\n'"),
        ("a\tb", r"'\t'"),
        ("a\rb", r"'\r'"),
        ("a\x00b", r"'\x00'"),
        ("a\x7fb", r"'\x7f'"),
        ("a\x85b", r"'\x85'"),
        ("a\u2028b", r"'\u2028'"),
        ("a\ud800b", r"'\ud800'"),
        ("it's", "single quote"),
        (None, "None is not text"),
        (7, "7 is not text"),
        (b"tone", "b'tone' is not text"),
        (True, "True is not text"),
    ],
)
def test_a_name_that_is_refused(name: Any, problem: str) -> None:
    with pytest.raises(ScoreError) as refused:
        Score(name, 1)

    assert problem in str(refused.value)
    assert str(refused.value).startswith("the name of a score: ")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0),
        (3, 3),
        (-2.5, -2.5),
        (True, True),
        (False, False),
        (2**70, 2**70),
        (5e-324, 5e-324),
        (1.7e308, 1.7e308),
        (Decimal("0.1"), 0.1),
        (Decimal(3), 3.0),
        (Fraction(1, 4), 0.25),
        (Stars.FIVE, 5),
    ],
)
def test_a_value_that_is_taken(value: Any, number: float) -> None:
    score = Score("x", value)

    assert score.value == number
    assert type(score.value) is type(number)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        None,
        "0.9",
        "",
        b"1",
        1j,
        [1],
        {},
        10**400,
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        Decimal("1e400"),
        timedelta(seconds=1),
        object(),
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],
)
def test_a_value_that_is_refused(value: Any) -> None:
    with pytest.raises(
        ScoreError, match=r"^score 'tone': .+ is not a finite number or a boolean: "
    ):
        Score("tone", value)


def test_no_value_is_refused_with_what_to_do_instead() -> None:
    with pytest.raises(ScoreError, match="return no score where there is none"):
        Score("tone", None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "text", "number"),
    [
        ("float64", 0.5, 0.5),
        ("float32", 0.5, 0.5),
        ("float16", 0.5, 0.5),
        ("longdouble", 0.5, 0.5),
        ("int64", 7, 7),
        ("uint8", 7, 7),
        ("bool_", True, True),
        ("asarray", 0.5, 0.5),
    ],
)
def test_a_scalar_of_numpy_is_taken_as_the_number_it_is(
    kind: str, text: Any, number: float
) -> None:
    numpy = pytest.importorskip("numpy")

    value = Score("x", getattr(numpy, kind)(text)).value

    assert value == number
    assert type(value) is type(number)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("float64", ["nan"]),
        ("float32", ["inf"]),
        ("complex128", [1]),
        ("str_", ["1"]),
        ("array", [[1, 2]]),
        ("datetime64", ["2020", "ns"]),
        ("timedelta64", [5, "ns"]),
        ("timedelta64", [5, "s"]),
    ],
)
def test_what_is_no_number_to_numpy_is_refused(kind: str, arguments: list[Any]) -> None:
    numpy = pytest.importorskip("numpy")

    with pytest.raises(ScoreError, match="not a finite number"):
        Score("x", getattr(numpy, kind)(*arguments))


def test_a_comment_and_a_source_go_with_a_score() -> None:
    score = Score("tone", 1, comment="calm,\nand short é", source="judge-2")

    assert (score.comment, score.source) == ("calm,\nand short é", "judge-2")


@pytest.mark.parametrize(
    ("field", "text", "problem"),
    [
        ("comment", 7, "the comment of score 'tone' is 7: give text, or leave it out"),
        ("comment", "x" * 8_193, "has 8,193 bytes: 8,192 are the most, so shorten it"),
        ("comment", "é" * 4_097, "has 8,194 bytes"),
        ("comment", "\udcff", "has a lone surrogate, which is no text: leave it out"),
        ("source", b"judge", "the source of score 'tone' is b'judge': give text, or leave it out"),
        ("source", "x" * 257, "has 257 bytes: 256 are the most, so shorten it"),
        ("source", "a\nb", "has a character that cannot be printed: give one line"),
    ],
)
def test_a_comment_or_a_source_that_is_refused(field: str, text: Any, problem: str) -> None:
    with pytest.raises(ScoreError) as refused:
        Score("tone", 1, **{field: text})

    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("field", "text"), [("comment", "x" * 8_192), ("comment", ""), ("source", "x" * 256)]
)
def test_the_longest_and_the_shortest_text_is_taken(field: str, text: str) -> None:
    assert getattr(Score("tone", 1, **{field: text}), field) == text  # type: ignore[arg-type]


def test_the_members_of_an_enum_are_plain_text() -> None:
    score = Score(Metric.TONE, 1, source=Metric.TONE)

    assert (type(score.name), type(score.source)) == (str, str)
    assert f"{score.name} {score.source}" == "tone tone"


def test_a_score_can_be_pickled_and_compared() -> None:
    score = Score("tone", 1, "calm")

    assert pickle.loads(pickle.dumps(score)) == score
    assert len({score, Score("tone", 1, "calm")}) == 1


def test_a_score_error_ends_the_tries_of_a_step_and_is_a_value_error() -> None:
    assert issubclass(ScoreError, (DeferError))
    assert issubclass(ScoreError, NonRetriable)
    assert issubclass(ScoreError, ValueError)
