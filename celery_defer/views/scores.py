"""Scores, page by page: of a task, of an experiment, of runs that nobody knew; and experiments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from itertools import chain, groupby, islice
from typing import Any

from celery_defer.errors import OptionError
from celery_defer.ids import RunId
from celery_defer.scoring import scores
from celery_defer.scoring.readers import latest, orphaned, seconds_of, store_of
from celery_defer.store import Place, ScoreRow
from celery_defer.views.lists import cursor_of, place_of
from celery_defer.views.rows import Page

_DIGITS = 12


def scored(
    *,
    app: Any = None,
    task: str | None = None,
    since: datetime | None = None,
    history: bool = False,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[ScoreRow]:
    """Return the scores of at most *limit* runs, of all tasks or of one; the last scored run first.

    With *since* those written since then, with *history* all scores of a run. *cursor* is the
    ``next`` of the page before.
    """
    store, first = store_of(app), seconds_of(since)
    places = partial(store.scored, task, since=first)
    found, following = _page(places, cursor, limit)
    return Page(_rows(store.scores_of(found), first, history), following)


def orphans(
    *,
    app: Any = None,
    since: datetime | None = None,
    history: bool = False,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[ScoreRow]:
    """Return the scores of at most *limit* runs that nobody knew, as ``scored`` does."""
    store, first = store_of(app), seconds_of(since)
    found, following = _page(store.orphans, cursor, limit)
    return Page(_rows(orphaned(store, found), first, history), following)


def scored_in(
    experiment: str,
    *,
    app: Any = None,
    since: datetime | None = None,
    history: bool = False,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[ScoreRow]:
    """Return the scores of at most *limit* runs that count in an experiment, in no order.

    *cursor* says how many runs to leave out: where scores are written meanwhile, a run may move.
    """
    first, start = seconds_of(since), _start(cursor)
    rows = scores.of_experiment(experiment, history=history, app=app)
    runs = (list(its) for _, its in groupby(rows, key=lambda row: row.run))
    some = list(islice(runs, start, start + limit + 1))
    following = str(start + limit) if len(some) > limit else None
    return Page(_since(first, chain(*some[:limit])), following)


def experiments(*, app: Any = None) -> list[str]:
    """Return the experiments that have runs; the one with the newest run comes first."""
    return store_of(app).experiments()


# -- private ------------------------------------------------------------------------------


def _page(
    listed: Callable[..., list[Place]], cursor: str | None, limit: int
) -> tuple[list[RunId], str | None]:
    """Return the runs of a page, and the cursor of the next one."""
    places = listed(before=place_of(cursor), limit=limit + 1)
    following = cursor_of(places[limit - 1]) if len(places) > limit else None
    return [place.id for place in places[:limit]], following


def _rows(read: Iterable[Sequence[ScoreRow]], first: float, history: bool) -> list[ScoreRow]:
    return _since(first, chain(*(rows if history else latest(rows) for rows in read)))


def _since(first: float, rows: Iterable[ScoreRow]) -> list[ScoreRow]:
    return [row for row in rows if row.at >= first]


def _start(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isdecimal() or len(cursor) > _DIGITS:
        raise OptionError(f"{cursor!r} is no cursor: give the `next` of a page")
    return int(cursor)
