"""What the values of an option may be; each check raises OptionError with the reason."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from celery_defer import durations
from celery_defer.errors import OptionError
from celery_defer.text import safe_repr

#: A field's name, a dotted path, or a function of the payload.
Key = str | Callable[[Any], object]

# Lua, whose numbers are floats, counts so far exactly.
_MOST = 2**31
_SHORTEST = 0.001


def whole(option: str, name: str, value: object) -> int:
    """Return *value*, a whole number above zero."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST:
        return value
    raise OptionError(
        f"{option}: {name}={safe_repr(value, 80)}: give a whole number above zero, at most 2**31"
    )


def period(option: str, name: str, value: object) -> float:
    """Return a duration above zero, in seconds."""
    length = durations.read(value)
    if length is not None and length >= _SHORTEST:
        return length
    raise OptionError(
        f"{option}: {name}={safe_repr(value, 80)}: give {durations.FORMS}, at least 1 ms"
    )


def optional_period(option: str, name: str, value: object) -> float | None:
    """Return a duration above zero, in seconds, or None for None."""
    return None if value is None else period(option, name, value)


def key(option: str, value: object) -> None:
    """Check a key, or None for none."""
    if value is None:
        return
    if isinstance(value, str):
        path(option, value)
    else:
        function(option, "key", value, "a field's name, a dotted path such as 'customer.id', or ")


def path(option: str, value: object) -> None:
    """Check the path of a value in a payload or in an event."""
    if not isinstance(value, str) or not all(value.split(".")):
        raise OptionError(
            f"{option}: {safe_repr(value, 80)} is no path: give a field's name, or a dotted path "
            "such as 'customer.id'"
        )


def function(option: str, name: str, value: object, others: str = "") -> None:
    """Check a function of the payload."""
    if not callable(value):
        raise OptionError(
            f"{option}: {name}={safe_repr(value, 80)}: give {others}a function of the payload"
        )
    if inspect.iscoroutinefunction(value) or inspect.isgeneratorfunction(value):
        raise OptionError(
            f"{option}: {name}={safe_repr(value, 80)} returns no value when it is called: give "
            f"{others}a plain function of the payload"
        )
    if not _takes_one(value):
        raise OptionError(
            f"{option}: {name}={safe_repr(value, 80)} does not take one argument: it is called "
            f"with the payload alone; give {others}a function of the payload"
        )


def _takes_one(value: Callable[..., object]) -> bool:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # a built-in function may have none
        return True
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True
