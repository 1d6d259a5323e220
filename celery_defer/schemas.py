"""The values that a wait compares, as the type of its event writes them."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json
from typing_extensions import is_typeddict

from celery_defer.codec import JsonType
from celery_defer.errors import EventError

__all__ = ["typed"]


def typed(name: str, schema: Any, wanted: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Answer *wanted* with each value as an event of that type will have it.

    Raises EventError for a path that no such event has, and for a value that cannot be there:
    the wait would go on to its timeout.
    """
    if not isinstance(wanted, Mapping):
        return wanted
    return {path: _value(name, schema, path, value) for path, value in wanted.items()}


def _value(name: str, schema: Any, path: Any, value: Any) -> Any:
    if not isinstance(path, str):
        return value
    found = _type_at(name, schema, path, path.split("."))
    if found is Any:
        return value
    try:
        kind = JsonType(TypeAdapter(found))
        return from_json(kind.dump(kind.check(value)))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"]
        raise EventError(f"match {path!r} of event {name!r} is {value!r}: {problem}") from error


def _type_at(name: str, schema: Any, path: str, steps: Sequence[str]) -> Any:
    """Answer the type at a path, or Any where the schema does not say."""
    for step in steps:
        schema = _without_none(schema)
        if typing.get_origin(schema) in (list, Sequence) and step.isdecimal():
            schema = typing.get_args(schema)[0]
            continue
        fields = _fields(schema)
        if fields is None:
            return Any
        if step not in fields:
            near = get_close_matches(step, fields, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(fields)}"
            raise EventError(f"match {path!r}: an event {name!r} has no {step!r}{hint}")
        schema = fields[step]
    return schema


def _without_none(schema: Any) -> Any:
    if typing.get_origin(schema) not in (typing.Union, UnionType):
        return schema
    rest = [each for each in typing.get_args(schema) if each is not NoneType]
    return rest[0] if len(rest) == 1 else schema


def _fields(schema: Any) -> Mapping[str, Any] | None:
    if not isinstance(schema, type):
        return None
    if issubclass(schema, BaseModel):
        if schema.model_config.get("extra") == "allow" or "root" in schema.model_fields:
            return None
        return {name: field.annotation for name, field in schema.model_fields.items()}
    if dataclasses.is_dataclass(schema) or is_typeddict(schema):
        return typing.get_type_hints(schema)
    return None
