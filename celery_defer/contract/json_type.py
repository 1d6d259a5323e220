"""A type's way to JSON and back: what is read is equal to what was written."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic_core import CoreConfig, SchemaSerializer, SchemaValidator

from celery_defer.encoding import TAG, tagged, untagged

# JSON has neither bytes nor infinities; a value must arrive equal to what was sent.
_JSON: CoreConfig = {
    "ser_json_bytes": "base64",
    "val_json_bytes": "base64",
    "ser_json_inf_nan": "strings",
}
# Only a type reads text as a number. So where a value has no type, these are as in Celery's JSON.
_OPEN_JSON: CoreConfig = {**_JSON, "ser_json_inf_nan": "constants"}

# Without this pydantic handles a nested model as its own class is configured. Before 2.13 it
# has no such switch: there, bytes in a nested model must be UTF-8.
_ANEW: dict[str, Any] = (
    {"_use_prebuilt": False} if "_use_prebuilt" in str(inspect.signature(SchemaValidator)) else {}
)


class JsonType:
    """A type that pydantic checks, writes as JSON and reads again.

    Its methods raise what pydantic raises, and what a validator or serializer of the user raises.
    """

    __slots__ = ("__weakref__", "_reader", "_serializer", "_validator")

    def __init__(self, adapter: TypeAdapter[Any]) -> None:
        self._build(core_schema(adapter), _JSON)

    @classmethod
    def of_celery(cls, adapter: TypeAdapter[Any]) -> JsonType:
        """Return a JSON type in which values without a type are written by Celery's own JSON."""
        json_type = cls(adapter)
        schema = core_schema(adapter)
        opened = _opened(schema)
        if opened is not schema:
            json_type._serializer = SchemaSerializer(opened, _OPEN_JSON, **_ANEW)
            json_type._reader = SchemaValidator(opened, _JSON, **_ANEW)
        return json_type

    @classmethod
    def of_part(cls, schema: Any, config: CoreConfig | None) -> JsonType:
        """Return the JSON type of a part of a ``core_schema``, as *config* says there."""
        part = cls.__new__(cls)
        part._build(schema, config or _JSON)
        return part

    @property
    def is_open(self) -> bool:
        """Whether there is a part without a type, which Celery's JSON writes."""
        return self._reader is not None

    def check(self, value: Any) -> Any:
        """Return *value* as the type has it."""
        return self._validator.validate_python(value, by_alias=True, by_name=True)

    def dump(
        self,
        value: Any,
        *,
        warnings: Literal["error", "warn"] = "error",
        fallback: Callable[[Any], Any] | None = None,
    ) -> str:
        """Return *value* as JSON; *warnings* says what happens to a value of another type.

        *fallback* returns what stands for a value that has no JSON.
        """
        json = self._serializer.to_json(
            value, round_trip=True, by_alias=False, warnings=warnings, fallback=fallback
        )
        return json.decode()

    def load(self, json: str | bytes) -> Any:
        """Return the value of *json*."""
        reader = self._validator
        if self._reader and TAG in (json if isinstance(json, str) else json.decode()):
            reader = self._reader
        return reader.validate_json(json, by_alias=True, by_name=True)

    def _build(self, schema: Any, config: CoreConfig) -> None:
        self._validator = SchemaValidator(schema, config, **_ANEW)
        self._serializer = SchemaSerializer(schema, config, **_ANEW)
        self._reader: SchemaValidator | None = None


def core_schema(adapter: TypeAdapter[Any]) -> Any:
    """Return pydantic's core schema of a type, configured for JSON; raises what pydantic raises."""
    adapter.rebuild(raise_errors=True)
    return _configured(adapter.core_schema)


def _configured(node: Any) -> Any:
    """Return a core schema with `_JSON` in each nested model that does not set it otherwise.

    pydantic takes these settings only from a model's own configuration. Without this, a model
    with a ``bytes`` field would refuse what is not UTF-8.
    """
    if isinstance(node, list | tuple):
        return type(node)(_configured(item) for item in node)
    if not isinstance(node, dict):
        return node
    schema = {key: _configured(item) for key, item in node.items()}
    if schema.get("type") in {"model", "dataclass", "typed-dict"}:
        own = schema.get("config") or {}
        schema["config"] = own if own.keys() & _JSON.keys() else {**_JSON, **own}
    return schema


# What stands for a value without a type: as it is in Python, by Celery's JSON in JSON.
_OPEN: Any = {
    "type": "json-or-python",
    "python_schema": {"type": "any"},
    "json_schema": {
        "type": "function-after",
        "function": {"type": "no-info", "function": untagged},
        "schema": {"type": "any"},
    },
    "serialization": {"type": "function-plain", "function": tagged, "when_used": "json"},
}


# The keys of an object are text; a default is no schema.
_CLOSED = frozenset({"keys_schema", "default", "metadata"})


def _opened(node: Any) -> Any:
    """Return a core schema with `_OPEN` in place of each type that may be anything.

    It is the same object if there is no such type.
    """
    if isinstance(node, list | tuple):
        items = [_opened(item) for item in node]
        is_same = all(map(operator.is_, items, node))
        return node if is_same else type(node)(items)
    if not isinstance(node, dict):
        return node
    if node.get("type") == "any" and "serialization" not in node:
        return _OPEN
    parts = {key: part if key in _CLOSED else _opened(part) for key, part in node.items()}
    return node if all(parts[key] is node[key] for key in node) else parts
