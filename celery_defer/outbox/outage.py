"""A service that is away: said once, and asked less and less often."""

from __future__ import annotations

from dataclasses import dataclass

_LONGEST_PAUSE = 10.0
_MOST_DOUBLINGS = 4


@dataclass(slots=True)
class Outage:
    """Whether a service is away, and for how many seconds to rest before it is asked again."""

    _tries: int = 0

    @property
    def is_on(self) -> bool:
        return self._tries > 0

    @property
    def pause(self) -> float:
        doublings = min(self._tries - 1, _MOST_DOUBLINGS)
        return min(2.0**doublings, _LONGEST_PAUSE) if self.is_on else 0.0

    def begins(self) -> bool:
        """Note that the service was away; return whether that is news."""
        self._tries += 1
        return self._tries == 1

    def ends(self) -> bool:
        """Note that the service was there; return whether that is news."""
        was_on, self._tries = self.is_on, 0
        return was_on
