"""What a step waits for: as it is stored, and as people read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from celery_defer.durations import shown
from celery_defer.store import Subscription


@dataclass(frozen=True, slots=True)
class Wait:
    """What a step waits for, and until when at the latest.

    ``kind`` and ``about`` are in the run's result while it waits; ``look`` is when the relay
    looks first, if that is earlier than ``until``.
    """

    kind: str
    until: float
    about: Mapping[str, Any] = field(default_factory=dict)
    #: How often the step was tried, if it is to be tried again; and when it was first.
    tries: int = 0
    began: float | None = None
    subscription: Subscription | None = None
    child: tuple[str, str] | None = None
    look: float | None = None
    is_over: Callable[[], bool] = lambda: False

    @property
    def words(self) -> str:
        """What the run waits for, and until when, as people read it."""
        if self.child:
            return f"for run {self.child[0]} ({self.child[1]})"
        what = f"for event {self.about['event']!r}" if self.subscription else f"({self.kind})"
        return f"{what} until {self.shown}"

    def meta(self, step: str) -> dict[str, Any]:
        """Return what the run's result shows while it waits at *step*."""
        return {"step": step, "waiting_for": self.kind, **self.about, "until": self.shown}

    @property
    def shown(self) -> str | None:
        """Until when the run waits, as people read it; None if that is not known."""
        return None if self.child else shown(self.until)
