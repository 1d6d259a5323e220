"""The record of a run, and the tree of the runs below it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from celery_defer.errors import NoRecordError
from celery_defer.ids import RunId, run_id
from celery_defer.run import told_of
from celery_defer.scoring.readers import latest
from celery_defer.store import History, RunState, Store
from celery_defer.views import results
from celery_defer.views.history import (
    calls_of,
    dropped_by,
    reader,
    reads,
    refusals_of,
    rows_of,
    wait_of,
)
from celery_defer.views.rows import RunRecord, RunRow, RunTree, WaitRow
from celery_defer.views.steps import steps_of

# What has one of these has no run, so nothing is below it; its id may be that of a call that has.
_WITHOUT_RUN = frozenset({RunState.SKIPPED, RunState.DROPPED})


@reads
def record(run_id: str, *, app: Any = None, most: int | None = None) -> RunRecord:
    """Return all that is known of a run: what it has deferred, its steps, its parent and siblings.

    It is known for ``defer_result_expires`` after the run's end. Any process with the app may call
    this. Without *app* it is the app of the run in progress, else Celery's current app, else the
    one app with a ``Defer``. With *most*, only so many calls of a run are read: the first ones.

    Raises NoRecordError if nothing is known of the run, or with ``defer_record = False``, and
    StoreError without a Redis that replies.

    >>> [call.defer_id for call in record(result.id).defers if call.state is RunState.FAILED]
    """
    of, store = reader(app)
    id = RunId(run_id)
    row = _found(of, store, id)
    ids = [id, row.parent] if row.parent else [id]
    histories = _histories(store, ids)
    defers = _defers(of, store, histories, most)
    parent = rows_of(of, store, [row.parent]).get(row.parent) if row.parent else None
    siblings = defers[row.parent] if row.parent else []
    calls = calls_of(histories[id])[:most]
    return RunRecord(
        row,
        parent,
        defers[id],
        [sibling for sibling in siblings if sibling.id != id],
        steps_of(of, store, row, told_of(histories[id]).get("f", ())),
        wait_of(row, histories[id]),
        latest(store.scores_of([id])[0]),
        list(rows_of(of, store, calls).values()) if calls else [],
    )


@reads
def tree(run_id: str, *, app: Any = None, most: int | None = None) -> RunTree:
    """Return a run and all runs below it, with the calls that have none.

    With *most*, only so many calls of each run are read: the first ones. Raises what ``record``
    raises.

    >>> print(*(f"{'  ' * depth}{run.task}" for depth, run in tree(result.id).rows()), sep="\\n")
    """
    of, store = reader(app)
    top = _found(of, store, RunId(run_id))
    below: dict[RunId, list[RunRow]] = {}
    waits: dict[RunId, WaitRow | None] = {}
    level = [top]
    while level:  # each level takes two or three round trips
        histories = _histories(store, [row.id for row in level])
        waits |= {row.id: wait_of(row, histories[row.id]) for row in level}
        defers = _defers(of, store, histories, most)
        below |= {id: rows for id, rows in defers.items() if id not in below}
        level = [row for rows in defers.values() for row in rows if row.id not in below]
        level = list({row.id: row for row in level}.values())
    return _tree(top, below, waits, frozenset())


# -- private ------------------------------------------------------------------------------


def _found(app: Any, store: Store, id: RunId) -> RunRow:
    if not id:
        raise NoRecordError("an empty text is not the id of a run: give result.id, say")
    row = rows_of(app, store, [id]).get(id)
    if row is None:
        raise NoRecordError(
            f"nothing is known of run {id}: it has deferred nothing and was not deferred, it has "
            "not ended, or its record has expired (defer_result_expires)"
        )
    return row


def _histories(store: Store, ids: Sequence[RunId]) -> dict[RunId, History | None]:
    return dict(zip(ids, store.histories(ids), strict=True))


def _defers(
    app: Any, store: Store, histories: Mapping[RunId, History | None], most: int | None
) -> dict[RunId, list[RunRow]]:
    """Return the calls of each run, in the order in which they were made; the first *most*."""
    ids = list(histories)
    told = {id: told_of(history) for id, history in histories.items()}
    called = {id: [run_id(id, call) for call in told[id].get("c", [])[:most]] for id in ids}
    unknown = [(id, "") for id in ids if not called[id]]
    linked = {id: results.children_of(meta) for id, meta in results.metas(app, unknown).items()}
    children = {id: (called[id] or linked.get(id, []))[:most] for id in ids}
    rows = rows_of(app, store, [child for each in children.values() for child in each])
    known = {id: _known(rows, dropped_by(histories[id], told[id])) for id in ids}
    calls = {id: _calls(id, children[id], known[id], are_ours=bool(called[id])) for id in ids}
    refusals = {id: refusals_of(id, histories[id], told[id]) for id in ids}
    return {id: _in_order(calls[id], children[id], refusals[id])[:most] for id in ids}


def _known(rows: Mapping[RunId, RunRow], dropped: Mapping[RunId, RunRow]) -> dict[RunId, RunRow]:
    """Return the rows of calls; the id of a dropped one may have been revoked all the same."""
    return {**rows, **{id: row for id, row in dropped.items() if not _has_run(rows.get(id))}}


def _has_run(row: RunRow | None) -> bool:
    return row is not None and row.defer_id is not None


def _calls(
    parent: RunId, children: Sequence[RunId], rows: Mapping[RunId, RunRow], *, are_ours: bool
) -> Iterator[RunRow]:
    for id in children:
        if id in rows:
            yield rows[id]
        elif not are_ours:  # else it was thrown away with its attempt
            yield RunRow(id, "", RunState.UNKNOWN, parent=parent)


def _in_order(
    calls: Iterable[RunRow], children: Sequence[RunId], refusals: Iterable[tuple[int, RunRow]]
) -> list[RunRow]:
    """Return the calls of a run with those put in that were refused because of their id."""
    places = {id: place for place, id in enumerate(children)}
    # Of one place, what was refused comes first: as many calls were before it.
    rows = [*refusals, *((places[row.id], row) for row in calls)]
    return [row for _, row in sorted(rows, key=lambda each: each[0])]


def _tree(
    row: RunRow,
    below: Mapping[RunId, list[RunRow]],
    waits: Mapping[RunId, WaitRow | None],
    above: frozenset[RunId],
) -> RunTree:
    if row.id in above or row.state in _WITHOUT_RUN:
        return RunTree(row)
    children = [_tree(child, below, waits, above | {row.id}) for child in below.get(row.id, ())]
    return RunTree(row, children, waits.get(row.id))
