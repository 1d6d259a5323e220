"""Who rests until a run parks, in one process."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["MemoryNudges"]


class MemoryNudges:
    """Wakes who waits when a run parks, in this process."""

    def __init__(
        self,
        condition: threading.Condition,
        parked: Callable[[], int],
        next_due: Callable[[], float | None],
    ) -> None:
        self._condition = condition
        self._parked = parked
        self._next_due = next_due
        self._seen = parked()

    def wait(self, seconds: float) -> float | None:
        with self._condition:
            if not self._condition.wait_for(lambda: self._parked() != self._seen, seconds):
                return None
            self._seen = self._parked()
            return self._next_due()

    def close(self) -> None:
        pass
