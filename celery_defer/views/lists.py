"""Lists of runs, page by page: by state, task, parent and tag, and what is waiting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from celery_defer.errors import OptionError
from celery_defer.ids import RunId
from celery_defer.run import told_of
from celery_defer.store import LISTED, History, Lists, Place, RunState, Store
from celery_defer.views.history import reader, reads, rows_of, wait_of
from celery_defer.views.record import record
from celery_defer.views.rows import Page, RunRow, WaitRow

T = TypeVar("T")

# Runs that are read at once if the first of them do not fill the page, and that are looked at for
# one page.
_CHUNK = 500
_MOST = 10_000
# Above all times in seconds, and all numbers, that a store gives out; also above no NaN.
_LATEST = 1e12


@reads
def runs(
    *,
    app: Any = None,
    state: RunState | str | None = None,
    task: str | None = None,
    parent: str | None = None,
    tag: tuple[str, str] | None = None,
    since: datetime | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[RunRow]:
    """Return one page of runs, the newest first: those that defer, and those that are deferred.

    All filters must hold; *since* is about when the run was published, or came into the *state*
    that is asked for. *cursor* is the ``next`` of the page before. A page may have fewer rows than
    *limit*, and a next one: at most 10,000 runs are looked at.

    Only with *parent* are there calls that have no run of their own: dropped ones, and those that
    were skipped because their id was used before.

    Raises what ``record`` raises, and OptionError for a cursor that is none, or for dropped calls
    without *parent*.

    >>> failed = runs(state="failed", task="shop.send_receipt", limit=20)
    """
    of, store = reader(app)
    wanted = RunState(state) if state else None
    if parent is not None:
        return _of_parent(record(parent, app=of).defers, wanted, task, tag, limit)
    if wanted is RunState.DROPPED:
        raise OptionError("dropped calls have no run: only the record of their parent has them")
    lists = Lists(
        (task,) if task else tuple(store.tasks()),
        _lists_of(wanted) if tag is None else (),
        None if tag is None else "=".join(tag),
    )

    found = (
        (place, row)
        for place, row, _ in _scan(of, store, lists, since, cursor, limit=limit)
        if row is None
        or ((wanted is None or row.state is wanted) and (task is None or row.task == task))
    )
    return _page(found, limit)


@reads
def waiting(
    *,
    app: Any = None,
    event: str | None = None,
    task: str | None = None,
    kind: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[WaitRow]:
    """Return one page of runs that wait, with what for; the one that began last comes first.

    Those are parked runs, and those that a limit holds back. With *event*, those that wait for such
    an event; with *kind*, those whose ``WaitRow`` has it. Raises what ``runs`` raises.
    """
    of, store = reader(app)
    lists = Lists((task,) if task else tuple(store.tasks()), _waiting_in(event, kind))
    found = (
        (place, wait)
        for place, row, history in _scan(of, store, lists, None, cursor, limit=limit, event=event)
        if ((wait := wait_of(row, history)) is not None and kind in (None, wait.kind))
        or row is None
    )
    return _page(found, limit)


@reads
def counts(*, app: Any = None) -> Mapping[tuple[RunState, str], int]:
    """Return how many runs of each task are in each state, but for those that have succeeded."""
    _, store = reader(app)
    tasks = store.tasks()
    keys = [(state, task) for task in tasks for state in LISTED]
    return {
        key: count for key, count in zip(keys, store.counts(tasks, LISTED), strict=True) if count
    }


@reads
def failed(*, app: Any = None, since: datetime) -> int:
    """Return how many runs have failed since then; it counts up to 10,000."""
    _, store = reader(app)
    lists = Lists(tuple(store.tasks()), (RunState.FAILED,))
    return len(store.listed(lists, since=since.timestamp(), limit=_MOST))


def cursor_of(place: Place) -> str:
    """Return the cursor of the page that follows a place."""
    return f"{place.at!r}-{place.number}-{place.id}"


def place_of(cursor: str | None) -> Place | None:
    """Return the place after which a page begins; raise OptionError for a cursor that is none."""
    if cursor is None:
        return None
    try:
        at, number, id = cursor.split("-", 2)
        place = Place(float(at), int(number), RunId(id))
    except ValueError:
        raise OptionError(_no_cursor(cursor)) from None
    if not (0 <= place.at < _LATEST and 0 <= place.number < _LATEST):
        raise OptionError(_no_cursor(cursor))
    return place


# -- private ------------------------------------------------------------------------------


def _page(found: Iterator[tuple[Place, T | None]], limit: int) -> Page[T]:
    """Return one page of what was found; a place without a row is where the search ends."""
    rows: list[T] = []
    for place, row in found:
        if row is None:
            return Page(rows, cursor_of(place))
        rows.append(row)
        if len(rows) == limit:
            return Page(rows, cursor_of(place))
    return Page(rows)


def _scan(
    app: Any,
    store: Store,
    lists: Lists,
    since: datetime | None,
    cursor: str | None,
    *,
    limit: int,
    event: str | None = None,
) -> Iterator[tuple[Place, RunRow | None, History | None]]:
    """Yield the runs of lists with their histories; at last a place alone, if there are more.

    With *event* only those that wait for it: results are not read for the others.
    """
    before, start, seen = place_of(cursor), max(since.timestamp(), 0.0) if since else 0.0, 0
    count = min(limit, _CHUNK)
    while seen < _MOST:
        places = store.listed(lists, since=start, before=before, limit=count)
        ids = [place.id for place in places]
        histories = dict(zip(ids, store.histories(ids), strict=True))
        wanted = [id for id in ids if histories[id] and _waits_for(event, histories[id])]
        rows = rows_of(app, store, wanted)
        yield from (
            (place, rows[place.id], histories[place.id]) for place in places if place.id in rows
        )
        if len(places) < count:
            return
        before, seen, count = places[-1], seen + len(places), _CHUNK
    if before is not None:
        yield before, None, None


def _waiting_in(event: str | None, kind: str | None) -> tuple[RunState, ...]:
    """Return the lists of runs that wait for what is asked for."""
    if kind == "limit" and event is None:
        return (RunState.HELD,)
    if kind is not None or event is not None:
        return (RunState.WAITING,)
    return (RunState.WAITING, RunState.HELD)


def _waits_for(event: str | None, history: History | None) -> bool:
    return event is None or told_of(history).get("w", {}).get("event") == event


def _lists_of(state: RunState | None) -> tuple[RunState, ...]:
    """Return the lists in which runs of a state are; none for the logs of all runs.

    Where results are in another place than the store, an end is known from the result alone, and
    the run stays in the list of those that are running.
    """
    if state is None or state not in LISTED:
        return ()
    is_end = state in (RunState.FAILED, RunState.ABORTED)
    return (state, RunState.RUNNING) if is_end else (state,)


def _of_parent(
    defers: Iterable[RunRow],
    state: RunState | None,
    task: str | None,
    tag: tuple[str, str] | None,
    limit: int,
) -> Page[RunRow]:
    rows = (
        row
        for row in reversed(list(defers))
        if state in (None, row.state)
        and task in (None, row.task)
        and (tag is None or row.tags.get(tag[0]) == tag[1])
    )
    return Page(list(islice(rows, limit)))


def _no_cursor(cursor: str) -> str:
    return f"{cursor!r} is no cursor: give the `next` of a page"
