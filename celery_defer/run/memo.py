"""What a run remembers of a finished step."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from celery_defer.errors import StoreError
from celery_defer.model import Call

__all__ = ["NOTHING", "Failure", "Memo", "pack", "unpack"]


@dataclass(frozen=True, slots=True)
class Failure:
    """How a step has failed: what is told of the exception, and the JSON to make it again of.

    ``is_final`` says that the step's tries are used up; else it had one, and the body has
    caught what it raised. ``exception`` is None where it cannot be made again.
    """

    text: str
    is_final: bool
    exception: str | None = None


@dataclass(frozen=True, slots=True)
class Memo:
    """What a step has come to, and what its function has deferred.

    ``result`` is the JSON of what the function answered.
    """

    result: str = "null"
    failure: Failure | None = None
    calls: tuple[Call, ...] = ()


#: What a wait comes to when its time is up.
NOTHING = Memo()

_adapter = TypeAdapter(Memo)


def pack(memo: Memo) -> bytes:
    """Answer *memo* as JSON."""
    known: dict[str, Any] = {"result": memo.result}
    if memo.failure:
        known["failure"] = asdict(memo.failure)
    if memo.calls:
        known["calls"] = [{**call.as_json(), "state": call.state.value} for call in memo.calls]
    return to_json(known)


def unpack(body: bytes) -> Memo:
    """Read a memo; raise StoreError for what ``pack`` cannot have made."""
    try:
        return _adapter.validate_json(body)
    except ValidationError as error:
        raise StoreError(f"the memo of a step cannot be read: {error}") from error
