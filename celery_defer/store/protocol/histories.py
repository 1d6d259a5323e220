"""What a store promises about the histories of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from celery_defer.commands import Commands
from celery_defer.ids import RunId
from celery_defer.store.history import Fact, History, Lists, Place, RunState


class Histories(Protocol):
    """How the histories of runs are read; other methods of the store write them on their way."""

    def facts(self, facts: Sequence[Fact]) -> Commands | None:
        """Return what ``commit`` would write of *facts*; None if it is no command, or nothing."""
        ...

    def note(self, facts: Sequence[Fact]) -> None:
        """Write facts by themselves, where no other method is called."""
        ...

    def histories(self, ids: Sequence[RunId]) -> list[History | None]:
        """Return the histories of runs, in this order; None for a run without one."""
        ...

    def tasks(self) -> list[str]:
        """Return the tasks that have histories, the one with the newest first."""
        ...

    def listed(
        self, lists: Lists, *, since: float = 0.0, before: Place | None = None, limit: int
    ) -> list[Place]:
        """Return at most *limit* runs of *lists*, newest first, *since* a time of the store's.

        In a list of a state, the place of a run is when it came into that state; else it is when
        its history began. Those of *before* and later ones are left out.
        """
        ...

    def counts(self, tasks: Sequence[str], states: Sequence[RunState]) -> list[int]:
        """Return how many runs are in the list of each task, for each of *states*."""
        ...
