"""What a step's function returns, as JSON for the store, and the same value from it each time."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from pydantic import TypeAdapter

from celery_defer import guard
from celery_defer.contract.json_type import JsonType
from celery_defer.errors import StepError
from celery_defer.text import safe_repr

#: Any value, written by pydantic alone.
PLAIN = JsonType(TypeAdapter(Any))
#: Any value, written by Celery's JSON as an argument without a type is.
ANYTHING = JsonType.of_celery(TypeAdapter(Any))
_types: WeakKeyDictionary[Any, JsonType] = WeakKeyDictionary()


def of_function(function: Callable[..., Any]) -> JsonType:
    """Return how results of *function* are written: by its return annotation, if it has one."""
    plain = _plain(function)
    with suppress(KeyError, TypeError):  # TypeError: an object without weak references
        return _types[plain]
    # For an annotation that pydantic, or even Python, cannot read, any JSON will do.
    json_type = guard.attempt(lambda: _read(plain), ANYTHING)
    with suppress(TypeError):
        _types[plain] = json_type
    return json_type


def of_type(annotation: Any) -> JsonType:
    """Return how values of a type are written; raises what pydantic raises for one it lacks."""
    return JsonType.of_celery(TypeAdapter(annotation))


def pack(
    step: str,
    kind: JsonType,
    value: Any,
    limit: int,
    fallback: Callable[[Any], Any] | None = None,
) -> str:
    """Return *value* as JSON of at most *limit* bytes.

    *fallback* returns what stands for a value that has neither type nor JSON. Raises StepError if
    there is no JSON all the same, and for a value of another type or beyond the limit.
    """
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()  # else Python warns of it later, at some other line
        raise StepError(
            f"step {step!r} returned {type(value).__qualname__}, which nobody awaits; "
            "let the step's function call asyncio.run(…)",
            step,
        )
    with guard.translated(lambda error: StepError(_refusal(step, kind, value, error), step)):
        json = kind.dump(value, fallback=fallback if kind is ANYTHING else None)
        kind.load(json)  # pydantic writes None for any type, and a replay could not read that
    if (size := len(json.encode())) > limit:
        raise StepError(
            f"step {step!r} returned {size} bytes; defer_max_payload_bytes = {limit} is the "
            "limit: keep it elsewhere, and return where",
            step,
        )
    return json


def unpack(step: str, kind: JsonType, json: str) -> Any:
    """Return the value of *json*; raise StepError where the annotated type does not take it."""
    with guard.translated(
        lambda error: StepError(
            f"step {step!r} has returned {json[:200]}, which is not what its function is "
            f"annotated to return: {error}",
            step,
        )
    ):
        return kind.load(json)


def _refusal(step: str, kind: JsonType, value: Any, error: Exception) -> str:
    name = type(value).__qualname__
    if kind is not ANYTHING and guard.attempt(lambda: ANYTHING.dump(value)) is not None:
        # pydantic's text has several lines.
        reason = " ".join(str(error).removeprefix("Pydantic serializer warnings:").split())
        return (
            f"step {step!r} returned {name} {safe_repr(value)}, which is not what its "
            f"function is annotated to return: {reason}"
        )
    return (
        f"step {step!r} returned {name}, which is not JSON: {error}; return numbers, text, lists "
        "or dicts, or annotate the function with the pydantic type that it returns"
    )


def _plain(function: Any) -> Any:
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(getattr(function, "run", function))  # of a Celery task, its body
    if not inspect.isroutine(function) and not isinstance(function, type):
        function = getattr(function, "__call__", function)  # noqa: B004
    return getattr(function, "__func__", function)


def _read(function: Any) -> JsonType:
    if isinstance(function, type):
        return of_type(function)
    annotation = typing.get_type_hints(function, include_extras=True).get("return", Any)
    return ANYTHING if annotation is Any else of_type(annotation)
