"""What one delivery of a run asks of the gates of its function."""

from __future__ import annotations

from dataclasses import dataclass

from celery_defer.flow.gate import Gate
from celery_defer.ids import RunId

#: By how many seconds the clock of a process may be ahead of the store's.
MOST_AHEAD = 5.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One delivery of a run asks to start.

    ``token`` names the delivery, and is the owner that it claims the run as: each delivery has
    another one, a redelivery too. It holds the places that it gets for ``lease`` seconds, unless it
    renews them.
    """

    task: str
    run: RunId
    token: str
    gates: tuple[Gate, ...]
    lease: float
    #: When the run was deferred, in seconds since 1970, by the clock of the process that has done
    #: it; None if that is not known.
    made: float | None = None
    #: By how many seconds it passes others that wait with the same keys.
    priority: float = 0.0
    #: Whether it goes on after a wait at a step; then only concurrency counts.
    goes_on: bool = False

    def order(self, now: float) -> float:
        """Return by which time earlier runs are told from later ones.

        It is that of the call, as it was: calls of one run are less than a millisecond apart, and
        their messages may overtake each other. A clock that is far ahead counts as a bit ahead.
        """
        return now if self.made is None else min(self.made, now + MOST_AHEAD)
