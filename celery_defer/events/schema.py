"""The values that a wait compares, written as the type of its event writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import CoreConfig, from_json

from celery_defer import guard
from celery_defer.contract import JsonType, core_schema
from celery_defer.errors import EventError

# The types of pydantic's core schema that have no fields. A list has items.
_LEAVES = frozenset(
    {"str", "bytes", "int", "float", "bool", "none", "decimal", "uuid", "literal", "list"}
    | {"datetime", "date", "time", "timedelta"}
)
_ANY = {"type": "any"}


@dataclass(frozen=True, slots=True)
class _Place:
    """A part of an event's core schema, with the configuration and the definitions it needs."""

    schema: Mapping[str, Any]
    config: CoreConfig | None = None
    definitions: tuple[Mapping[str, Any], ...] = ()

    def written(self, value: Any) -> Any:
        """Return *value* as JSON has it here; raise what pydantic and the user's code raise."""
        # A field's serializer is a method of the model, which does not exist here.
        if self.schema == _ANY or self.schema.get("serialization", {}).get("is_field_serializer"):
            return value
        schema = {"type": "definitions", "schema": self.schema, "definitions": [*self.definitions]}
        kind = JsonType.of_part(schema, self.config)
        return from_json(kind.dump(kind.check(value)))


def typed(name: str, schema: Any, values: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return *values* as events of that type have them.

    Raises EventError for a path or a value that no such event can have: the wait would time out.
    """
    if not values or not isinstance(values, Mapping):
        return values
    event = _Place(core_schema(TypeAdapter(schema)))
    return {path: _value(name, event, path, value) for path, value in values.items()}


def _value(name: str, event: _Place, path: Any, value: Any) -> Any:
    if not isinstance(path, str):
        return value
    place = _at(name, event, path)
    with guard.translated(
        lambda error: EventError(f"match {path!r} of event {name!r} is {value!r}: {_reason(error)}")
    ):
        return place.written(value)


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return str(error.errors(include_url=False)[0]["msg"])
    return repr(error)  # a user's validator may raise anything


def _at(name: str, place: _Place, path: str) -> _Place:
    """Return the place at a path; raise EventError if no event has it."""
    for step in path.split("."):
        place = _inner(place)
        if problem := _problem(place, step):
            raise EventError(f"match {path!r}: an event {name!r} has no {step!r}; {problem}")
        place = _child(place, step)
    return place


def _inner(place: _Place) -> _Place:
    """Unwrap a place: references, None, defaults, validators."""
    schema = place.schema
    if _has_own_serializer(schema):
        return _Place(_ANY)
    match schema:
        case {"type": "definition-ref", "schema_ref": ref}:
            [inner] = [each for each in place.definitions if each["ref"] == ref]
        case {"type": "json"}:  # a string, whatever is in it
            return place
        case {"json_schema": inner} | {"schema": inner}:
            pass
        case _:
            return place
    definitions = (*place.definitions, *schema.get("definitions", ()))
    return _inner(_Place(inner, schema.get("config", place.config), definitions))


def _has_own_serializer(schema: Mapping[str, Any]) -> bool:
    """Whether the user's code serializes the value, which may then have any form."""
    function = schema.get("serialization", {}).get("function")
    return function is not None and not function.__module__.startswith("pydantic.")


def _problem(place: _Place, step: str) -> str | None:
    """Return why a place has no such step; None if it may have one."""
    if _is_item(place, step):
        return None
    kinds = [choice.schema for choice in _choices(place)]
    if all(map(_is_leaf, kinds)):
        return f"what stands before it is {' | '.join(kind['type'] for kind in kinds)}"
    fields = _fields(place)
    if fields is None or step in fields:
        return None
    near = get_close_matches(step, fields, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(fields)}"


def _child(place: _Place, step: str) -> _Place:
    schema, config = place.schema, place.schema.get("config", place.config)
    if _is_item(place, step):
        return replace(place, schema=schema.get("items_schema", _ANY))
    fields = _fields(place)
    return replace(place, schema=_ANY if fields is None else fields[step], config=config)


def _is_item(place: _Place, step: str) -> bool:
    return place.schema["type"] == "list" and step.isdecimal()


def _choices(place: _Place) -> Iterator[_Place]:
    """Return the members of a union; the place itself if it is none."""
    if place.schema["type"] != "union":
        yield place
        return
    for choice in place.schema["choices"]:
        schema = choice[0] if isinstance(choice, tuple) else choice  # with a label
        yield from _choices(_inner(replace(place, schema=schema)))


def _is_leaf(schema: Mapping[str, Any]) -> bool:
    if schema["type"] == "enum":
        return all(isinstance(member.value, str | int | float) for member in schema["members"])
    return schema["type"] in _LEAVES


def _fields(place: _Place) -> Mapping[str, Any] | None:
    """Return the schemas of the fields by name; None if there may be any."""
    schema = place.schema
    extra = schema.get("extra_behavior"), (place.config or {}).get("extra_fields_behavior")
    if "allow" in extra:
        return None
    match schema["type"]:
        case "model-fields" | "typed-dict":
            return {name: field["schema"] for name, field in schema["fields"].items()}
        case "dataclass-args":
            fields = [field for field in schema["fields"] if not field.get("init_only")]
            return {field["name"]: field["schema"] for field in fields}
    return None
