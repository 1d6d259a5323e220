"""The values that a wait compares, as the type of its event writes them."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded
from pydantic import (
    BaseModel,
    PlainSerializer,
    RootModel,
    TypeAdapter,
    ValidationError,
    WrapSerializer,
    create_model,
)
from pydantic.dataclasses import is_pydantic_dataclass
from pydantic.fields import FieldInfo
from pydantic_core import from_json
from typing_extensions import NotRequired, ReadOnly, Required, is_typeddict

from celery_defer.contract import JsonType
from celery_defer.errors import EventError

__all__ = ["typed"]

_LISTS = (list, Sequence)
_QUALIFIERS = (Required, NotRequired, ReadOnly, Final)
_SCALARS = frozenset(
    {str, bytes, int, float, bool, NoneType, Decimal, UUID, datetime, date, time, timedelta}
)
# What these write may have any shape.
_SERIALIZERS = (PlainSerializer, WrapSerializer)


@dataclass(frozen=True, slots=True)
class _Place:
    """What is at a path: its type, and the pydantic configuration that holds there."""

    type: Any
    config: Any = None

    def written(self, value: Any) -> Any:
        """Answer the JSON of *value* here; raises ValidationError for what cannot be here."""
        if not self.config:
            return _written(self.type, value)
        # A configuration is for a type with fields; pydantic writes a TypedDict without it.
        holder = create_model("Holder", __config__=self.config, value=(self.type, ...))
        return _written(holder, {"value": value})["value"]


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
    found = _place(name, schema, path)
    if found.type is Any:
        return value
    try:
        return found.written(value)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"]
        raise EventError(f"match {path!r} of event {name!r} is {value!r}: {problem}") from error
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:  # a user's validator may raise anything
        raise EventError(f"match {path!r} of event {name!r} is {value!r}: {error!r}") from error


def _written(schema: Any, value: Any) -> Any:
    kind = JsonType(TypeAdapter(schema))
    return from_json(kind.dump(kind.check(value)))


def _place(name: str, schema: Any, path: str) -> _Place:
    """Answer what is at a path; its type is Any where the schema does not say."""
    place = _Place(schema)
    for step in path.split("."):
        found = _below(_Place(_bare(place.type), place.config), step)
        if isinstance(found, str):
            raise EventError(f"match {path!r}: an event {name!r} has no {step!r}{found}")
        place = found
    return place


def _below(place: _Place, step: str) -> _Place | str:
    """Answer what is one step further; or, where nothing can be, what there is instead."""
    if typing.get_origin(place.type) in _LISTS and step.isdecimal():
        return _Place(typing.get_args(place.type)[0], place.config)
    if _is_leaf(place.type):
        return f"; what stands before it is {_shown(place.type)}"
    fields = _fields(place)
    if fields is None:
        return _Place(Any)
    if step in fields:
        return _Place(fields[step], _config(place))
    near = get_close_matches(step, fields, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(fields)}"


def _bare(schema: Any) -> Any:
    """Answer a type without what is said about it, and without None."""
    if isinstance(schema, typing.NewType):
        return _bare(schema.__supertype__)
    if typing.get_origin(schema) is Annotated:
        own, *metadata = typing.get_args(schema)
        return Any if any(isinstance(each, _SERIALIZERS) for each in metadata) else _bare(own)
    if typing.get_origin(schema) in (typing.Union, UnionType):
        rest = [each for each in typing.get_args(schema) if each is not NoneType]
        return _bare(rest[0]) if len(rest) == 1 else schema
    return schema


def _is_leaf(schema: Any) -> bool:
    """Whether no name leads further; a list has places, but no names."""
    origin = typing.get_origin(schema)
    if origin in (typing.Union, UnionType):
        return all(_is_leaf(_bare(each)) for each in typing.get_args(schema))
    if origin is Literal or origin in _LISTS:
        return True
    if isinstance(schema, type) and issubclass(schema, Enum):
        return all(type(each.value) in _SCALARS for each in schema)
    return isinstance(schema, type) and schema in _SCALARS


def _shown(schema: Any) -> str:
    return schema.__name__ if isinstance(schema, type) else str(schema)


def _fields(place: _Place) -> Mapping[str, Any] | None:
    schema = place.type
    if not isinstance(schema, type) or issubclass(schema, RootModel):
        return None
    if (_config(place) or {}).get("extra") == "allow":
        return None
    if issubclass(schema, BaseModel):
        return _declared(schema.model_fields)
    if is_pydantic_dataclass(schema):
        return _declared(schema.__pydantic_fields__)
    return _hinted(schema)


def _config(place: _Place) -> Any:
    """Answer the configuration of a type's fields; pydantic's models have one of their own."""
    if issubclass(place.type, BaseModel):
        return place.type.model_config
    return getattr(place.type, "__pydantic_config__", place.config)


def _declared(fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    return {name: _annotated(field.annotation, field.metadata) for name, field in fields.items()}


def _hinted(schema: Any) -> dict[str, Any] | None:
    is_dataclass = dataclasses.is_dataclass(schema)
    if not is_dataclass and not is_typeddict(schema):
        return None
    hints = typing.get_type_hints(schema, include_extras=True)
    names = [field.name for field in dataclasses.fields(schema)] if is_dataclass else list(hints)
    return {name: _unqualified(hints[name]) for name in names}


def _annotated(schema: Any, metadata: Sequence[Any]) -> Any:
    return Annotated[(schema, *metadata)] if metadata else schema


def _unqualified(hint: Any) -> Any:
    """Answer a field's type without what is said of the field: ``NotRequired[int]`` is int."""
    if typing.get_origin(hint) in _QUALIFIERS:
        return _unqualified(typing.get_args(hint)[0])
    if typing.get_origin(hint) is Annotated:
        own, *metadata = typing.get_args(hint)
        return _annotated(_unqualified(own), metadata)
    return hint
