"""A score: a named number or boolean that says how well a run did."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any, SupportsFloat

from celery_defer import guard, ids
from celery_defer.errors import IdError, ScoreError
from celery_defer.scoring import names
from celery_defer.text import safe_repr

__all__ = ["Score"]

# In bytes of UTF-8.
_LONGEST_COMMENT = 8_192
_LONGEST_SOURCE = 256


@dataclass(frozen=True, slots=True, init=False)
class Score:
    """How well a run did in one respect.

    *name* is text of 1 to 128 bytes of UTF-8, not blank, without control characters and single
    quotes. *value* is a boolean or a finite number. Scalars of numpy and the like are taken as the
    Python number that their ``item()`` returns; a ``Decimal`` or a ``Fraction`` is taken as the
    nearest ``float``. *comment* says why, in at most 8,192 bytes; *source* says who scored, such as
    the name of a model, in one line of at most 256 bytes. *step* is the id of a step of the run, if
    the score is about that step alone.

    Raises ScoreError for anything else. A step is not tried again after it.

    >>> Score("relevance", 0.9, comment="names the product", source="judge-2")
    Score(name='relevance', value=0.9, comment='names the product', source='judge-2', step=None)
    """

    name: str  #: What is scored.
    value: bool | int | float  #: A boolean, or a finite number.
    comment: str | None = None  #: Why the value is what it is.
    source: str | None = None  #: Who scored.
    step: str | None = None  #: The step that is scored; None for the run itself.

    def __init__(
        self,
        name: str,
        value: SupportsFloat,
        comment: str | None = None,
        source: str | None = None,
        step: str | None = None,
    ) -> None:
        if problem := names.problem_of(name):
            raise ScoreError(f"the name of a score: {problem}")
        set_field = object.__setattr__
        set_field(self, "name", names.plain(name))
        set_field(self, "value", _checked_value(name, value))
        set_field(self, "comment", _checked_comment(name, comment))
        set_field(self, "source", _checked_source(name, source))
        set_field(self, "step", _checked_step(name, step))


def _checked_value(name: str, value: object) -> bool | int | float:
    number = _number(value)
    if number is not None and _is_finite(number):
        return number
    fix = "return no score where there is none" if value is None else "give one"
    shown = safe_repr(value)[:80]
    raise ScoreError(f"score '{name}': {shown} is not a finite number or a boolean: {fix}")


def _number(value: Any) -> bool | int | float | None:
    """Return *value* as a Python number; None if it is none."""
    if _is_time(value):
        return None
    if hasattr(value, "item"):  # numpy, torch
        value = guard.attempt(value.item)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)  # also of an IntEnum
    if isinstance(value, Real | Decimal):
        return guard.attempt(lambda: float(value))
    return None


def _is_time(value: Any) -> bool:
    """Whether it is a date or a duration of numpy, which would be a number of nanoseconds."""
    return getattr(getattr(value, "dtype", None), "kind", None) in {"m", "M"}


def _is_finite(number: float) -> bool:
    return guard.attempt(lambda: math.isfinite(number), default=False)  # OverflowError: an int


def _checked_comment(name: str, text: object) -> str | None:
    return _checked_text(f"the comment of score '{name}'", text, _LONGEST_COMMENT)


def _checked_source(name: str, text: object) -> str | None:
    what = f"the source of score '{name}'"
    if isinstance(text, str) and not text.isprintable():
        raise ScoreError(f"{what} has a character that cannot be printed: give one line")
    return _checked_text(what, text, _LONGEST_SOURCE)


def _checked_step(name: str, id: object) -> str | None:
    if id is None:
        return None
    try:
        return names.plain(ids.check(id))
    except IdError:
        raise ScoreError(
            f"the step of score '{name}' is {safe_repr(id)[:80]}: give the id of a step, as text"
        ) from None


def _checked_text(what: str, text: object, longest: int) -> str | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise ScoreError(f"{what} is {safe_repr(text)[:80]}: give text, or leave it out")
    size = guard.attempt(lambda: len(text.encode()))
    if size is None:
        raise ScoreError(f"{what} has a lone surrogate, which is no text: leave it out")
    if size > longest:
        raise ScoreError(f"{what} has {size:,} bytes: {longest:,} are the most, so shorten it")
    return names.plain(text)
