"""What a step's function answers: JSON for the store, and the same value from it each time."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from billiard.exceptions import SoftTimeLimitExceeded
from pydantic import TypeAdapter

from celery_defer.contract.json_type import JsonType
from celery_defer.errors import StepError
from celery_defer.text import safe_repr

__all__ = ["ANYTHING", "of_function", "of_type", "pack", "unpack"]

ANYTHING = JsonType(TypeAdapter(Any))
_known: WeakKeyDictionary[Any, JsonType] = WeakKeyDictionary()


def of_function(function: Callable[..., Any]) -> JsonType:
    """Answer how the results of *function* are written, by its return annotation if it has one."""
    plain = _plain(function)
    try:
        return _known[plain]
    except (KeyError, TypeError):  # TypeError: an object that no weak reference can point to
        found = _read(plain)
    with suppress(TypeError):
        _known[plain] = found
    return found


def of_type(annotation: Any) -> JsonType:
    """Answer how values of a type are written; raises what pydantic raises for one it lacks."""
    return JsonType(TypeAdapter(annotation))


def pack(step: str, kind: JsonType, value: Any) -> str:
    """Answer *value* as JSON; raise StepError where it has none, or is of another type."""
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()  # else Python warns of it, at some other place
        raise StepError(
            f"step {step!r} answered {type(value).__qualname__}, which nobody awaits; "
            "let the step's function call asyncio.run(…)",
            step,
        )
    try:
        json = kind.dump(value)
        kind.load(json)  # pydantic writes None for any type; what cannot be read must not be kept
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:  # a user's serializer may raise anything
        raise StepError(f"step {step!r} answered {_refusal(kind, value, error)}", step) from error
    return json


def unpack(step: str, kind: JsonType, json: str) -> Any:
    """Answer the value of *json*; raise StepError where it is none of the annotated type."""
    try:
        return kind.load(json)
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        raise StepError(
            f"step {step!r} has answered {json[:200]}, which is not what it is annotated to "
            f"return: {error}",
            step,
        ) from error


def _refusal(kind: JsonType, value: Any, error: Exception) -> str:
    if kind is not ANYTHING and _is_json(value):
        # pydantic's text has several lines.
        reason = " ".join(str(error).removeprefix("Pydantic serializer warnings:").split())
        return (
            f"{type(value).__qualname__} {safe_repr(value)[:200]}, which is not what its "
            f"function is annotated to return: {reason}"
        )
    return (
        f"{type(value).__qualname__}, which is not JSON: {error}; let it answer numbers, text, "
        "lists, dicts or a pydantic type that it is annotated to return"
    )


def _is_json(value: Any) -> bool:
    try:
        ANYTHING.dump(value)
    except SoftTimeLimitExceeded:
        raise
    except Exception:  # a user's serializer may raise anything
        return False
    return True


def _plain(function: Any) -> Any:
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(getattr(function, "run", function))  # of a Celery task, its body
    if not inspect.isroutine(function) and not isinstance(function, type):
        function = getattr(function, "__call__", function)  # noqa: B004
    return getattr(function, "__func__", function)


def _read(function: Any) -> JsonType:
    try:
        if isinstance(function, type):
            return of_type(function)
        annotation = typing.get_type_hints(function, include_extras=True).get("return", Any)
        return ANYTHING if annotation is Any else of_type(annotation)
    except Exception:  # no annotation that pydantic, or even Python, can read
        return ANYTHING
