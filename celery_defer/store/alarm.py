"""What wakes a relay early."""

from __future__ import annotations

from typing import Protocol


class Alarm(Protocol):
    """Wakes a relay before its next look, if a record becomes due earlier."""

    def wait(self, seconds: float) -> float | None:
        """Wait *seconds*, or until a run parks; return when that run is due."""
        ...

    def close(self) -> None: ...
