"""Scores that were written, as they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from celery_defer import durations, guard
from celery_defer.errors import OptionError, StoreError
from celery_defer.ids import RunId
from celery_defer.run import extension_for
from celery_defer.store import Place, ScoreRow, Store
from celery_defer.text import safe_repr

__all__ = ["Scores", "latest", "scores", "seconds_of", "store_of"]

# Runs that are read at once.
_CHUNK = 200
_ListPage = Callable[[Place | None], list[Place]]
_Read = Callable[[Store, Sequence[RunId]], list[list[ScoreRow]]]


class Scores:
    """The scores that were written, of which there is one: ``celery_defer.scores``.

    Of several scores of one run, step and name, all methods return the last; with ``history=True``
    all, in the order they were written. Any process with the app may call them. Without *app* it is
    the app of the run in progress, else Celery's current app, else the one app with a ``Defer``.

    They raise StoreError without a Redis that replies.
    """

    def of_run(self, run_id: str, *, history: bool = False, app: Any = None) -> list[ScoreRow]:
        """Return the scores of a run and of its steps.

        >>> [(each.name, each.value) for each in scores.of_run(result.id)]
        [('tone', 0.5)]
        """
        store = store_of(app)
        with guard.translated(_away):
            [rows] = store.scores_of([RunId(run_id)])
        return rows if history else latest(rows)

    def of_task(
        self, task: str, *, since: datetime | None = None, history: bool = False, app: Any = None
    ) -> Iterator[ScoreRow]:
        """Return the scores of a task's runs; those of the run that was scored last come first.

        *since* is when a score was written. A run whose task was not known when it was scored from
        outside is left out.

        Raises OptionError for a *since* without a time zone.
        """
        store, first = store_of(app), seconds_of(since)
        rows = _listed(
            store,
            lambda place: store.scored(task, since=first, before=place, limit=_CHUNK),
            history,
        )
        return (row for row in rows if row.at >= first)

    def of_experiment(
        self, id: str, *, variant: str | None = None, history: bool = False, app: Any = None
    ) -> Iterator[ScoreRow]:
        """Return the scores that count in an experiment, or for one *variant* of it.

        They are those of the runs that have taken a variant, and of the runs that carry it; in no
        order.
        """
        store = store_of(app)
        return _of_experiment(store, id, variant, history)

    def orphans(self, *, history: bool = False, app: Any = None) -> Iterator[ScoreRow]:
        """Return the scores of runs that nobody knew when they were scored, the newest first.

        These runs never were, were forgotten (the record of a run lives for
        ``defer_result_expires``), or had no step of this name. Of a run that is known by now, only
        the scores of its steps are left.
        """
        store = store_of(app)
        return _listed(
            store, lambda place: store.orphans(before=place, limit=_CHUNK), history, orphaned
        )


scores = Scores()


def store_of(app: Any) -> Store:
    """Return the store of *app*; raise StoreError if it has none."""
    store: Store | None = extension_for(app).store
    if store is None:
        raise StoreError
    return store


def seconds_of(since: datetime | None) -> float:
    """Return a moment in seconds since 1970, 0 for None; raise OptionError for no moment."""
    if since is None:
        return 0.0
    if not durations.is_moment(since):
        raise OptionError(
            f"since={safe_repr(since)} has no time zone: give a datetime such as "
            "datetime.now(timezone.utc) - timedelta(days=7)"
        )
    return since.timestamp()


def latest(rows: Iterable[ScoreRow]) -> list[ScoreRow]:
    """Return the last row of each step and name, in the order of the first ones."""
    return list({(row.step, row.name): row for row in rows}.values())


def orphaned(store: Store, runs: Sequence[RunId]) -> list[list[ScoreRow]]:
    """Return the scores of runs that nobody knew; without a step only if that is still so."""
    known = store.histories(runs)
    return [
        [row for row in rows if history is None or row.step is not None]
        for rows, history in zip(store.scores_of(runs), known, strict=True)
    ]


def _scores_of(store: Store, runs: Sequence[RunId]) -> list[list[ScoreRow]]:
    return store.scores_of(runs)


def _listed(
    store: Store, page: _ListPage, history: bool, read: _Read = _scores_of
) -> Iterator[ScoreRow]:
    """Return the scores of the runs on all pages, in their order."""
    last: Place | None = None
    with guard.translated(_away):
        while places := page(last):
            yield from _read(store, [place.id for place in places], history, read)
            last = places[-1]


def _of_experiment(store: Store, id: str, variant: str | None, history: bool) -> Iterator[ScoreRow]:
    with guard.translated(_away):
        taken = {run for run, its in store.assigned(id) if variant in (None, its)}
        runs = dict.fromkeys(run for assigned, run in store.scored_in(id) if assigned in taken)
        yield from _read(store, runs, history)


def _read(
    store: Store, runs: Iterable[RunId], history: bool, read: _Read = _scores_of
) -> Iterator[ScoreRow]:
    left = iter(runs)
    while chunk := list(islice(left, _CHUNK)):
        for rows in read(store, chunk):
            yield from rows if history else latest(rows)


def _away(error: Exception) -> StoreError:
    # The errors of redis-py say where and why in their text, not in their repr.
    return StoreError(f"the scores cannot be read ({type(error).__name__}: {error})")
