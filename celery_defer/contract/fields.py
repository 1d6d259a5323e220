"""The names of a schema's fields."""

from __future__ import annotations

import inspect
from inspect import Parameter
from typing import Any

from typing_extensions import is_typeddict


def field_names(schema: Any) -> frozenset[str] | None:
    """Return the names that a type checker accepts for *schema*; None where it accepts any."""
    if is_typeddict(schema):
        return frozenset(schema.__annotations__)
    parameters = inspect.signature(schema).parameters
    if any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values()):
        return None
    return frozenset(parameters) | frozenset(getattr(schema, "model_fields", ()))
