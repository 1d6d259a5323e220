"""Whether a payload may have the values that the keys of limits name."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from inspect import Parameter
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, RootModel
from typing_extensions import get_type_hints, is_typeddict

from celery_defer import guard
from celery_defer.contract.body import Body
from celery_defer.contract.contract import hints_of
from celery_defer.errors import OptionError
from celery_defer.flow import Limits

_Fields = Mapping[str, Any]

# In JSON these have no parts.
_PLAIN = frozenset(
    {str, int, float, bool, bytes, type(None)}
    | {Decimal, UUID, datetime, date, time, timedelta}
)  # fmt: skip


def check(body: Body, schema: Any, limits: Limits) -> None:
    """Raise OptionError for a key that leads to no value, as far as types tell."""
    fields = _arguments(body) if schema is None else _fields(schema)
    for option, path in limits.paths():
        if fields is None or _has(fields, path.split(".")):
            continue
        raise OptionError(
            f"{body.task}: {option} has the key {path!r}, which its payload does not have; there "
            f"are: {', '.join(sorted(fields)) or 'no fields'}"
        )


def _arguments(body: Body) -> _Fields:
    """Return the types of a function's arguments; Any where nobody can read them yet."""
    hints = guard.attempt(lambda: hints_of(body.function, body.parameters), {})
    variable = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return {p.name: Any if p.kind in variable else hints.get(p.name, Any) for p in body.parameters}


def _has(fields: _Fields, steps: Sequence[str]) -> bool:
    return steps[0] in fields and _may_have(fields[steps[0]], steps[1:])


def _may_have(annotation: Any, steps: Sequence[str]) -> bool:
    """Whether a value of a type may have one at a path; True where that cannot be known."""
    if not steps:
        return True
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_may_have(member, steps) for member in parts)
    if origin is Annotated:
        return True  # it may have a serializer, which returns what it likes
    if annotation in _PLAIN:
        return False
    fields = _fields(annotation)
    return fields is None or _has(fields, steps)


def _fields(kind: Any) -> _Fields | None:
    """Return the types of the fields that the JSON of a type has; None where it may have any."""
    if not isinstance(kind, type):
        return None
    if issubclass(kind, BaseModel):
        return _of_model(kind)
    if is_typeddict(kind):
        return _typed(kind, kind.__annotations__)
    if dataclasses.is_dataclass(kind):
        return _typed(kind, (field.name for field in dataclasses.fields(kind)))
    return None


def _typed(kind: type, names: Iterable[str]) -> _Fields:
    hints = guard.attempt(lambda: get_type_hints(kind), {})
    return {name: hints.get(name, Any) for name in names}


def _of_model(kind: type[BaseModel]) -> _Fields | None:
    has_any = kind.model_config.get("extra") == "allow"
    decorators = kind.__pydantic_decorators__
    if has_any or issubclass(kind, RootModel) or decorators.model_serializers:
        return None
    # What a serializer returns need not be of the field's type.
    is_open = bool(decorators.field_serializers)
    return {
        name: Any if is_open or field.metadata else field.annotation
        for name, field in kind.model_fields.items()
    }
