"""A type's way to JSON and back: what is read is equal to what was written."""

from __future__ import annotations

import inspect
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic_core import CoreConfig, SchemaSerializer, SchemaValidator

# JSON has neither bytes nor infinities; a value must arrive equal to what was sent.
_JSON: CoreConfig = {
    "ser_json_bytes": "base64",
    "val_json_bytes": "base64",
    "ser_json_inf_nan": "strings",
}

# Without this pydantic handles a nested model as its own class is configured. Before 2.13 it
# has no such switch: there, bytes in a nested model must be UTF-8.
_ANEW: dict[str, Any] = (
    {"_use_prebuilt": False} if "_use_prebuilt" in str(inspect.signature(SchemaValidator)) else {}
)


class JsonType:
    """A type that pydantic checks, writes as JSON and reads again.

    Its methods raise what pydantic raises, and what a validator or serializer of the user raises.
    """

    __slots__ = ("__weakref__", "_serializer", "_validator")

    def __init__(self, adapter: TypeAdapter[Any]) -> None:
        self._build(core_schema(adapter), _JSON)

    @classmethod
    def of_part(cls, schema: Any, config: CoreConfig | None) -> JsonType:
        """Return the JSON type of a part of a ``core_schema``, as *config* says there."""
        part = cls.__new__(cls)
        part._build(schema, config or _JSON)
        return part

    def check(self, value: Any) -> Any:
        """Return *value* as the type has it."""
        return self._validator.validate_python(value, by_alias=True, by_name=True)

    def dump(self, value: Any, *, warnings: Literal["error", "warn"] = "error") -> str:
        """Return *value* as JSON; *warnings* says what happens to a value of another type."""
        json = self._serializer.to_json(value, round_trip=True, by_alias=False, warnings=warnings)
        return json.decode()

    def load(self, json: str | bytes) -> Any:
        """Return the value of *json*."""
        return self._validator.validate_json(json, by_alias=True, by_name=True)

    def _build(self, schema: Any, config: CoreConfig) -> None:
        self._validator = SchemaValidator(schema, config, **_ANEW)
        self._serializer = SchemaSerializer(schema, config, **_ANEW)


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
