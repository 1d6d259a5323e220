"""How far an attempt has come, and what it hands over when its body has ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any


class Phase(Enum):
    """How far a run has come."""

    RECEIVED = auto()
    IN_BODY = auto()
    RETURNED = auto()
    RAISED = auto()
    PARKED = auto()
    DROPPED = auto()


@dataclass(eq=False, slots=True)
class Ending:
    """The end of one attempt: what surrounds the body writes it."""

    phase: Phase = Phase.RECEIVED
    #: What the run returned or raised, once Celery has said so.
    result: Any = None
    #: How the run's calls leave: an ``outbox.commit.Commit``, or nothing as long as none do.
    commit: Any = None

    @property
    def is_open(self) -> bool:
        """Whether the body is not over."""
        return self.phase in (Phase.RECEIVED, Phase.IN_BODY)
