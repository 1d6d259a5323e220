"""Where runs stand in line that limits hold back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from celery_defer import guard
from celery_defer.current import extension_of
from celery_defer.ids import RunId
from celery_defer.run import key_shown, told_of
from celery_defer.settings import Settings
from celery_defer.store import History, InLine, RunState, Store
from celery_defer.views.rows import LineRow, RunRow
from celery_defer.views.times import moment


def in_line(
    app: Any,
    store: Store,
    rows: Mapping[RunId, RunRow],
    histories: Mapping[RunId, History | None],
) -> dict[RunId, RunRow]:
    """Return the rows of runs that are held back, with their places in line.

    It asks the store once, and not at all if none is held.
    """
    held = [id for id in histories if id in rows and rows[id].state is RunState.HELD]
    if not held:
        return {}
    settings = extension_of(app).settings
    lines = {
        id: _line(line, settings) if line else _told_line(histories[id])
        for id, line in zip(held, store.in_line(held), strict=True)
    }
    return {id: replace(rows[id], held=line) for id, line in lines.items() if line}


def _line(line: InLine, settings: Settings) -> LineRow:
    key = key_shown(settings, line.key)
    return LineRow(line.gate, key, line.place, moment(line.since))


def _told_line(history: History | None) -> LineRow | None:
    """Return where a run stood; it has a place now, and is on its way to a worker."""
    wait = told_of(history).get("w", {})
    if wait.get("kind") != "limit":
        return None
    return guard.attempt(lambda: LineRow(wait["limit"], wait["key"], since=moment(wait["since"])))
