"""What a store promises about scores and experiments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Protocol

from celery_defer.ids import RunId
from celery_defer.store.history import Place
from celery_defer.store.scores import Carried, ScoreRow

_NOTHING: Carried = MappingProxyType({})


class Scores(Protocol):
    """Scores of runs, which variants runs take, and what became of these.

    An *assigned* run is one that takes a variant by itself. It carries the experiment, and so do
    the runs that it defers, and those that they defer.
    """

    def score(
        self,
        rows: Sequence[ScoreRow],
        keys: Sequence[str],
        task: str,
        keep: float,
        *,
        carried: Carried = _NOTHING,
        is_known: bool = False,
    ) -> list[bool]:
        """Write scores of one run, which live for *keep* seconds; return which are new.

        Each has a key: one whose key the run has is left out. One with an empty key is left out if
        the last score of the same name and target says the same: a body that is replayed writes it
        again. *task* is empty if the caller does not know it.

        The values count in the experiments that are *carried*, and in those that the run is known
        to carry: the last one of each name and target. Unless the caller says that the run
        *is_known*, one of which the store knows nothing is an orphan, and so is a run whose step
        it does not know.
        """
        ...

    def assign(
        self, run: RunId, experiment: str, variant: str, keep: float, open_for: float
    ) -> str:
        """Assign a variant to a run, for *keep* seconds; return the one that it has then.

        The first one stays. What the run was scored before counts for it too: the last value of
        each name and target. The run counts as open until a fact says that it has ended, or until
        *open_for* seconds have passed.
        """
        ...

    def scores_of(self, runs: Sequence[RunId]) -> list[list[ScoreRow]]:
        """Return all scores of each of these runs, in the order they were written."""
        ...

    def scored(
        self, task: str | None, *, since: float = 0.0, before: Place | None = None, limit: int
    ) -> list[Place]:
        """Return at most *limit* runs of a task that have scores; those scored last come first.

        *since* is a time of the store's. Those of *before* and later ones are left out. None stands
        for all tasks.
        """
        ...

    def orphans(self, *, before: Place | None = None, limit: int) -> list[Place]:
        """Return runs with scores that the store did not know, as ``scored`` does."""
        ...

    def experiments(self) -> list[str]:
        """Return the experiments that have runs; the one with the newest run comes first."""
        ...

    def assigned(self, experiment: str, *, since: float = 0.0) -> Iterator[tuple[RunId, str]]:
        """Return the runs that were assigned a variant, and which; read in parts, in no order."""
        ...

    def values(self, experiment: str) -> Iterator[tuple[str, RunId, bool | int | float]]:
        """Return the name of each score, the assigned run and the value, read in parts.

        Several of one run and name are of several targets: it, its steps, and the runs that carry
        the experiment.
        """
        ...

    def scored_in(self, experiment: str) -> Iterator[tuple[RunId, RunId]]:
        """Return the runs whose scores count in an experiment, each behind its assigned run.

        Read in parts; a run with several scores comes several times.
        """
        ...

    def open_runs(self, experiment: str) -> set[RunId]:
        """Return the assigned runs that are open, or of which a run that carries it is."""
        ...

    def unsampled(self, experiment: str) -> set[RunId]:
        """Return the assigned runs of which a scorer was left out."""
        ...
