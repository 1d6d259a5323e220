"""The value at a dotted path of JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_MOST_DIGITS = 9


class Missing:
    """Stands for a value that is not there."""


MISSING: Final = Missing()


def at(data: Any, steps: Sequence[str]) -> Any:
    """Return the value at *steps*; MISSING if there is none. A number is a place in a list.

    >>> at({"user": [{"id": 7}]}, ["user", "0", "id"])
    7
    """
    for step in steps:
        if isinstance(data, Mapping) and step in data:
            data = data[step]
        elif isinstance(data, list) and _is_place(step) and int(step) < len(data):
            data = data[int(step)]
        else:
            return MISSING
    return data


def _is_place(step: str) -> bool:
    # Python refuses to read thousands of digits, and no list is so long.
    return step.isdecimal() and len(step) <= _MOST_DIGITS
