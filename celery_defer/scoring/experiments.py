"""How an experiment stands, as the store knows it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from celery_defer import guard
from celery_defer.errors import ExperimentError, StoreError
from celery_defer.scoring import names
from celery_defer.scoring.compare import compare_rows
from celery_defer.scoring.comparison import Comparison
from celery_defer.scoring.readers import seconds_of, store_of
from celery_defer.scoring.statistics import mean_of
from celery_defer.store import Store

__all__ = ["compare"]

_Value = bool | int | float


def compare(
    id: str,
    *,
    since: datetime | None = None,
    baseline: str | None = None,
    order: Sequence[str] = (),
    effects: Mapping[str, float] | None = None,
    app: Any = None,
) -> Comparison:
    """Return how the variants of an experiment compare: their runs, their scores, the differences.

    Each run that has taken a variant is counted once: as scored, if it has any score; as pending
    while it, or a run that carries its variant, has not ended; as not sampled, if a scorer with
    ``sample=`` has left it out; else as missing. Several values of one score, of the run's steps
    say, count as their mean.

    *since* leaves out the runs that have taken their variant earlier. The variants stand in
    *order*, the others by name behind them; *baseline* stands first, and the others are compared
    with the first. *effects* has the smallest effect that matters, by the name of the score.
    Without ``defer_record`` it is not known which runs are pending.

    Raises ExperimentError for an id that is none, and for a baseline or an *order* with a name that
    no run of these has taken, OptionError for a *since* without a
    time zone, and StoreError without a Redis that replies.

    >>> compare("checkout-flow").sentences
    ("No run has taken part in experiment 'checkout-flow' yet.",)
    """
    if problem := names.problem_of(id):
        raise ExperimentError(f"the id of an experiment: {problem}")
    store, first = store_of(app), seconds_of(since)

    def away(error: Exception) -> StoreError:
        # The errors of redis-py say where and why in their text, not in their repr.
        return StoreError(f"experiment '{id}' cannot be read ({type(error).__name__}: {error})")

    with guard.translated(away):
        # In this order, a run that goes on meanwhile is counted as it was or as it is.
        assigned: dict[str, str] = dict(store.assigned(id, since=first))
        is_open, unsampled = store.open_runs(id), store.unsampled(id)
        values = _values(store, id, assigned)
    return compare_rows(
        id, assigned, values, is_open, unsampled, baseline=baseline, order=order, effects=effects
    )


def _values(store: Store, id: str, assigned: Mapping[str, str]) -> dict[str, dict[str, _Value]]:
    """Return one value of each run, by the name of the score."""
    values: defaultdict[str, dict[str, _Value]] = defaultdict(dict)
    several: defaultdict[tuple[str, str], list[_Value]] = defaultdict(list)
    for name, run, value in store.values(id):
        if run not in assigned:
            continue
        if run in values[name]:
            several[name, run].append(value)
        values[name].setdefault(run, value)
    for (name, assigned_run), more in several.items():
        its = values[name]
        its[assigned_run] = mean_of([its[assigned_run], *more])
    return dict(values)
