"""The memo of a finished step: its result or its failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from celery_defer.errors import StoreError
from celery_defer.model import Call


@dataclass(frozen=True, slots=True)
class Failure:
    """How a step failed: the exception as text, and as JSON to rebuild it from.

    ``is_final`` says that the step has no tries left; else it had one, and the body caught the
    exception. ``exception`` is None if it cannot be rebuilt.
    """

    text: str
    is_final: bool
    exception: str | None = None


@dataclass(frozen=True, slots=True)
class Memo:
    """A step's outcome, and what its function did to the run's calls; ``result`` is JSON.

    ``calls`` are those that it deferred, ``skipped`` those that were refused, and ``aborted`` the
    ids of calls that were made outside of it. ``kind`` is the method of ``step`` that it is the
    memo of; what a body has done by itself has none, and earlier versions of the package wrote
    none.
    """

    result: str = "null"
    failure: Failure | None = None
    calls: tuple[Call, ...] = ()
    kind: str = ""
    skipped: tuple[Call, ...] = ()
    aborted: tuple[str, ...] = ()
    #: When the step's function was called, in seconds since 1970, and how many it took.
    began: float = 0.0
    took: float = 0.0
    #: The tags that it set for its run; None for one that it removed.
    tags: Mapping[str, str | None] = field(default_factory=dict)
    #: The variants in which the step was, by experiment.
    experiments: Mapping[str, str] = field(default_factory=dict)

    def pack(self) -> bytes:
        """Return the memo as JSON."""
        fields: dict[str, Any] = {"result": self.result}
        if self.kind:
            fields["kind"] = self.kind
        if self.failure:
            fields["failure"] = asdict(self.failure)
        if self.calls:
            fields["calls"] = [_with_state(call) for call in self.calls]
        if self.skipped:
            fields["skipped"] = [_with_state(call) for call in self.skipped]
        if self.aborted:
            fields["aborted"] = self.aborted
        if self.tags:
            fields["tags"] = self.tags
        if self.experiments:
            fields["experiments"] = self.experiments
        if self.began:
            fields |= {"began": round(self.began, 6), "took": round(self.took, 6)}
        return to_json(fields)

    @classmethod
    def unpack(cls, body: bytes) -> Memo:
        """Read a memo; raise StoreError if ``pack`` did not write it."""
        try:
            return _adapter.validate_json(body)
        except ValidationError as error:
            raise StoreError(f"the memo of a step cannot be read: {error}") from error


def _with_state(call: Call) -> dict[str, Any]:
    fields = {**call.as_json(), "state": call.state.value}
    refusal = {"reason": call.reason, "refused": call.refused}
    return {**fields, **{name: text for name, text in refusal.items() if text}}


_adapter = TypeAdapter(Memo)
