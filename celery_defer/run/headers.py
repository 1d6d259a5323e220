"""What a deferred run's message says of its parent, in one header that Celery carries along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from celery_defer.model import HEADER, Call, Record, When

__all__ = ["WAKE", "Envelope", "Wake", "seal"]

#: The header of a message that wakes a run. Celery keeps it over retries and redeliveries.
WAKE = "celery_defer_wake"


@dataclass(frozen=True, slots=True)
class Envelope:
    """The header of a deferred run."""

    defer_id: str
    parent_task: str
    when: When
    experiment: str | None
    deferred_at: datetime
    depth: int
    token: str
    step: str | None = None

    @classmethod
    def open(cls, request: Mapping[str, Any]) -> Envelope | None:
        """Read the header of a task request; None where the run was not deferred."""
        # A worker's request has custom headers beside Celery's own, an eager one below "headers".
        header = request.get(HEADER) or (request.get("headers") or {}).get(HEADER)
        if not isinstance(header, Mapping):
            return None
        try:
            return cls._read(header)
        except (TypeError, ValueError, OverflowError):  # not one of ours
            return None

    @classmethod
    def _read(cls, header: Mapping[str, Any]) -> Envelope:
        return cls(
            defer_id=header.get("id", ""),
            parent_task=header.get("parent", ""),
            when=header.get("when", "success"),
            experiment=header.get("experiment"),
            deferred_at=datetime.fromtimestamp(header.get("at", 0), timezone.utc),
            depth=header.get("depth", 1),
            token=header.get("token", ""),
            step=header.get("step"),
        )


@dataclass(frozen=True, slots=True)
class Wake:
    """What a wake-up's message says: the turn that it begins, and the publication's token."""

    turn: int
    token: str

    @classmethod
    def open(cls, request: Mapping[str, Any]) -> Wake | None:
        """Read the header of a task request; None where the run was never parked."""
        header = request.get(WAKE)
        if not isinstance(header, Mapping):
            return None
        turn, token = header.get("turn"), header.get("token")
        return cls(turn, token) if isinstance(turn, int) and isinstance(token, str) else None

    def seal(self) -> dict[str, Any]:
        """Answer the header."""
        return {"turn": self.turn, "token": self.token}


def seal(call: Call, record: Record, token: str) -> dict[str, Any]:
    """Answer the header that a call's message carries.

    *token* names the publication: a redelivery of the message has the same one, a message
    that was published once more has another.
    """
    header = {
        "id": call.step or call.id,
        "parent": record.task,
        "when": call.options.when,
        "experiment": call.options.experiment,
        "at": call.at,
        "depth": record.depth + 1,
        "token": token,
    }
    return {**header, "step": call.step} if call.step else header
