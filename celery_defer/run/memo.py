"""What a run remembers of a finished step."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from celery_defer.errors import StoreError
from celery_defer.model import Call


@dataclass(frozen=True, slots=True)
class Failure:
    """How a step has failed: the exception as text, and as JSON of which to make it again.

    ``is_final`` says that the step's tries are used up; else it had one, and the body has
    caught what it raised. ``exception`` is None where it cannot be made again.
    """

    text: str
    is_final: bool
    exception: str | None = None


@dataclass(frozen=True, slots=True)
class Memo:
    """What a step has come to, and what its function has deferred.

    ``result`` is the JSON of what the function returned.
    """

    result: str = "null"
    failure: Failure | None = None
    calls: tuple[Call, ...] = ()

    def pack(self) -> bytes:
        """Return the memo as JSON."""
        fields: dict[str, Any] = {"result": self.result}
        if self.failure:
            fields["failure"] = asdict(self.failure)
        if self.calls:
            fields["calls"] = [{**call.as_json(), "state": call.state.value} for call in self.calls]
        return to_json(fields)

    @classmethod
    def unpack(cls, body: bytes) -> Memo:
        """Read a memo; raise StoreError for what ``pack`` cannot have made."""
        try:
            return _adapter.validate_json(body)
        except ValidationError as error:
            raise StoreError(f"the memo of a step cannot be read: {error}") from error


_adapter = TypeAdapter(Memo)

#: What a wait comes to when its time is up.
NOTHING = Memo()
