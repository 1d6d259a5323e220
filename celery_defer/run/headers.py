"""What a message says of its run beside Celery's own headers, which Celery carries along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from celery_defer.model import HEADER, When

#: The header of a message that wakes a run. Celery keeps it over retries and redeliveries.
WAKE = "celery_defer_wake"


@dataclass(frozen=True, slots=True)
class DeferHeader:
    """What a deferred run's message says of its parent.

    ``at`` is when the run was deferred, in seconds since 1970. ``token`` names the publication:
    a redelivery of the message has the same one, a message that was published once more has
    another. ``step`` is the step of the parent that waits for the run's end.
    """

    defer_id: str
    parent_task: str
    when: When
    experiment: str | None
    at: float
    depth: int
    token: str
    step: str | None = None

    @property
    def deferred_at(self) -> datetime:
        return datetime.fromtimestamp(self.at, timezone.utc)

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> DeferHeader | None:
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
    def _read(cls, header: Mapping[str, Any]) -> DeferHeader:
        read = cls(
            defer_id=header.get("id", ""),
            parent_task=header.get("parent", ""),
            when=header.get("when", "success"),
            experiment=header.get("experiment"),
            at=header.get("at", 0),
            depth=header.get("depth", 1),
            token=header.get("token", ""),
            step=header.get("step"),
        )
        read.deferred_at  # noqa: B018  # raises for what is no time
        return read

    def pack(self) -> dict[str, Any]:
        """Return the header as a message carries it."""
        header = {
            "id": self.defer_id,
            "parent": self.parent_task,
            "when": self.when,
            "experiment": self.experiment,
            "at": self.at,
            "depth": self.depth,
            "token": self.token,
        }
        return {**header, "step": self.step} if self.step else header


@dataclass(frozen=True, slots=True)
class WakeHeader:
    """What a wake-up's message says: the turn that it begins, and the publication's token."""

    turn: int
    token: str

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> WakeHeader | None:
        """Read the header of a task request; None where the run was never parked."""
        header = request.get(WAKE)
        if not isinstance(header, Mapping):
            return None
        turn, token = header.get("turn"), header.get("token")
        return cls(turn, token) if isinstance(turn, int) and isinstance(token, str) else None

    def pack(self) -> dict[str, Any]:
        """Return the header as a message carries it."""
        return {"turn": self.turn, "token": self.token}
