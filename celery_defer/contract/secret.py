"""Whether a type has a pydantic Secret, which JSON does not carry."""

from __future__ import annotations

import warnings
from typing import Any

from pydantic import TypeAdapter

from celery_defer import guard
from celery_defer.errors import ContractError


def check_no_secret(task: str, adapter: TypeAdapter[Any]) -> None:
    """Raise ContractError for a type with a Secret."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # None for a type that JSON Schema cannot describe.
        schema = guard.attempt(lambda: adapter.json_schema(mode="serialization"))
    if _has_secret(schema):
        raise ContractError(
            f"{task} takes a pydantic Secret, which pydantic's JSON replaces by asterisks; "
            "take a str, or a reference to where the secret is kept"
        )


def _has_secret(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(_has_secret, schema))
    if not isinstance(schema, dict):
        return False
    is_secret = schema.get("format") == "password" and schema.get("writeOnly") is True
    return is_secret or any(map(_has_secret, schema.values()))
