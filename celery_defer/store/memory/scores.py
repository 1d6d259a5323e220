"""The scores and experiments of the memory store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from types import MappingProxyType

from celery_defer.ids import RunId
from celery_defer.store.history import Fact, Place, RunState
from celery_defer.store.memory.state import MemoryState
from celery_defer.store.scores import Carried, ScoreRow

_NOTHING: Carried = MappingProxyType({})


class MemoryScores(MemoryState):
    """Keeps the scores of each run, and what belongs to each experiment."""

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
        with self._lock:
            pairs = zip(rows, keys, strict=True)
            return [self._write(row, key, task, carried, is_known) for row, key in pairs]

    def assign(
        self, run: RunId, experiment: str, variant: str, keep: float, open_for: float
    ) -> str:
        with self._lock:
            if experiment in self._carried[run]:
                return self._carried[run][experiment][0]
            self._carried[run][experiment] = (variant, run)
            now, assigned = self.clock(), self._experiments[experiment]
            assigned.runs[run] = (now, variant)
            assigned.last = self._next()
            assigned.open[run, run] = now + open_for
            for (name, step), row in self._scored[run].last.items() if run in self._scored else ():
                assigned.values[name, run, run, step] = row.value
            return variant

    def scores_of(self, runs: Sequence[RunId]) -> list[list[ScoreRow]]:
        with self._lock:
            return [list(self._scored[run].rows) if run in self._scored else [] for run in runs]

    def scored(
        self, task: str | None, *, since: float = 0.0, before: Place | None = None, limit: int
    ) -> list[Place]:
        with self._lock:
            runs = self._scored.values()
            places = [run.place for run in runs if run.place and task in (None, run.task)]
            return _page([place for place in places if place.at >= since], before, limit)

    def orphans(self, *, before: Place | None = None, limit: int) -> list[Place]:
        with self._lock:
            return _page(self._orphans.values(), before, limit)

    def experiments(self) -> list[str]:
        with self._lock:
            known = ((each.last, name) for name, each in self._experiments.items() if each.runs)
            return [name for _, name in sorted(known, reverse=True)]

    def assigned(self, experiment: str, *, since: float = 0.0) -> Iterator[tuple[RunId, str]]:
        with self._lock:
            runs = list(self._experiments[experiment].runs.items())
        return iter([(run, variant) for run, (at, variant) in runs if at >= since])

    def values(self, experiment: str) -> Iterator[tuple[str, RunId, bool | int | float]]:
        with self._lock:
            values = list(self._experiments[experiment].values.items())
        return iter([(name, run, value) for (name, run, *_), value in values])

    def scored_in(self, experiment: str) -> Iterator[tuple[RunId, RunId]]:
        with self._lock:
            values = list(self._experiments[experiment].values)
        return iter([(assigned, run) for _, assigned, run, _ in values])

    def open_runs(self, experiment: str) -> set[RunId]:
        with self._lock:
            now, known = self.clock(), self._experiments[experiment].open
            return {run for (run, _), until in known.items() if until > now}

    def unsampled(self, experiment: str) -> set[RunId]:
        with self._lock:
            return set(self._experiments[experiment].unsampled)

    def _write(self, row: ScoreRow, key: str, task: str, carried: Carried, is_known: bool) -> bool:
        run = self._scored[row.run]
        last = run.last.get((row.name, row.step))
        if key in run.keys or (not key and last and last.says == row.says):
            return False
        known = is_known or self._knows(row)
        run.keys |= {key} if key else set()
        run.task = run.task or task or self._tasks.get(row.run, "")
        run.place = Place(self.clock(), self._next(), row.run)
        run.rows.append(replace(row, at=run.place.at))
        run.last[row.name, row.step] = row
        if not known:
            self._orphans[row.run] = run.place
        for experiment, (_, assigned) in {**self._carried[row.run], **carried}.items():
            target = (row.name, assigned, row.run, row.step)
            self._experiments[experiment].values[target] = row.value
        return True

    def _knows(self, row: ScoreRow) -> bool:
        """Whether the target of a score is known."""
        if row.step is not None:
            run = self._runs.get(row.run)
            return run is not None and (row.step in run.memos or row.step in run.waits)
        if self._scored[row.run].rows:
            return row.run not in self._orphans
        if row.run in self._histories or row.run in self._owners or self._carried[row.run]:
            return True
        return row.run in self._runs and self._runs[row.run].is_known

    def _follow(self, fact: Fact) -> None:
        """Keep up who carries experiments, and who of these is open."""
        was = self._histories.get(fact.id)
        has_waited = was is not None and was.state is RunState.WAITING
        carried = fact.experiments
        is_restarted = fact.state is RunState.WAITING and not fact.attempt
        ends = not fact.state.is_open and (
            not fact.about or fact.state is not RunState.SUCCEEDED or fact.attempt > 1 or has_waited
        )
        if not carried and (ends or (is_restarted and not fact.about)):
            known = self._carried[fact.id].items()
            carried = tuple((name, variant, run) for name, (variant, run) in known)
        for name, variant, run in carried:
            experiment = self._experiments[name]
            if fact.state.is_open:
                experiment.open[run, fact.id] = self.clock() + fact.keep
            else:
                experiment.open.pop((run, fact.id), None)
            if fact.state is RunState.SKIPPED:
                experiment.unsampled |= {run} if fact.experiments else set()
            elif fact.state is not RunState.UNKNOWN:
                self._carried[fact.id].setdefault(name, (variant, run))

    def _next(self) -> int:
        self._facts += 1
        return self._facts


def _page(places: Iterable[Place], before: Place | None, limit: int) -> list[Place]:
    later = sorted((each for each in places if before is None or each < before), reverse=True)
    return later[:limit]
