"""An outbox record as the store keeps it: JSON, checked when it is read."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from celery_defer.errors import RecordError
from celery_defer.model import Record

__all__ = ["pack", "unpack"]

_adapter = TypeAdapter(Record)
_arguments = TypeAdapter(tuple[list[Any], dict[str, Any]])


def pack(record: Record) -> bytes:
    """Answer *record* as JSON."""
    return to_json(
        {
            "parent": record.parent,
            "root": record.root,
            "task": record.task,
            "depth": record.depth,
            "verdict": record.verdict and record.verdict.value,
            "at": record.at,
            "inherited": record.inherited,
            "calls": [call.as_json() for call in record.calls],
            "unknown_since": record.unknown_since,
        }
    )


def unpack(body: bytes) -> Record:
    """Read a record; raise RecordError for what ``pack`` cannot have made."""
    try:
        record = _adapter.validate_json(body)
        for call in record.calls:
            _arguments.validate_json(call.payload)
        return record
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        listed = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems)
        raise RecordError(f"the record cannot be read: {listed}") from error
