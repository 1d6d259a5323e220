"""How far an attempt has come, and how its calls are published."""

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
    """The end of one attempt; the code around the body writes it."""

    phase: Phase = Phase.RECEIVED
    #: What the run returned or raised, once Celery has sent its signal.
    result: Any = None
    #: The ``outbox.commit.Commit`` of the run's calls; None before, and without calls.
    commit: Any = None
    #: Whether Celery has been told that the run has parked: nothing may leave the body any more.
    has_left: bool = False
    #: Whether what the run remembers expires with its result, so that nothing is left to do.
    has_expiry: bool = False
    #: Whether the run's history says how it has ended.
    is_told: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the body has not ended."""
        return self.phase in (Phase.RECEIVED, Phase.IN_BODY)
