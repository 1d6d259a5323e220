"""An outbox record as the store keeps it: JSON, checked when it is read."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from celery_defer.errors import RecordError
from celery_defer.model import Call, Options, Record

__all__ = ["pack", "unpack"]

_adapter = TypeAdapter(Record)
_arguments = TypeAdapter(tuple[list[Any], dict[str, Any]])
_PLAIN = Options()


def pack(record: Record) -> bytes:
    """Answer *record* as JSON."""
    return to_json(
        {
            "parent": record.parent,
            "root": record.root,
            "task": record.task,
            "depth": record.depth,
            "outcome": record.outcome.value,
            "is_judged": record.is_judged,
            "at": record.at,
            "inherited": record.inherited,
            "calls": [_call(call) for call in record.calls],
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


def _call(call: Call) -> dict[str, Any]:
    options = {} if call.options == _PLAIN else call.options.model_dump(exclude_unset=True)
    return {
        "id": call.id,
        "task": call.task,
        "payload": call.payload,
        "at": call.at,
        "options": options,
    }
