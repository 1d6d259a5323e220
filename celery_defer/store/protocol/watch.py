"""What a store promises about runs that end before their bodies do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from celery_defer.commands import Commands
from celery_defer.ids import RunId
from celery_defer.store.history import Fact
from celery_defer.store.values import Watch, Watched


class Watching(Protocol):
    """Events that cancel runs, and the deadlines of runs.

    ``emit`` cancels the runs of an event, and ``take`` those whose deadline is over, as ``cancel``
    does: a run that is parked has a record then that is due at once, for a relay to end it; any
    other run begins no further step.
    """

    def watch(
        self, id: RunId, watch: Watch, now: float, keep: float, *, facts: Sequence[Fact] = ()
    ) -> Watched:
        """Cancel the run when an event comes, or at its deadline; for *keep* seconds at least.

        Says why the run ends at once: it is late, or was cancelled, or the event has come already.
        Then it is cancelled, and not watched. A body that begins again keeps the deadline of its
        first start. *facts* are written if the run goes on.
        """
        ...

    def unwatch(self, id: RunId, keep: float) -> None:
        """Watch the run no more: it has ended. Keep for *keep* seconds that it has begun."""
        ...

    def unwatching(self, id: RunId, digests: Sequence[str], keep: float) -> Commands | None:
        """Return what ``unwatch`` would write of a run with these events; None if no commands."""
        ...
