"""How a score is written: at once, from inside a run or from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsFloat

from celery_defer import guard
from celery_defer.current import extension_of
from celery_defer.errors import NoRunError, ScoreError, StoreError
from celery_defer.ids import RunId
from celery_defer.run import Scope, extension_for, find, signals, step_inside
from celery_defer.scoring import names
from celery_defer.scoring.score import Score
from celery_defer.store import Carried, ScoreRow, Store
from celery_defer.text import safe_repr

__all__ = ["score", "write_rows"]


def score(
    name: str,
    value: SupportsFloat,
    *,
    run_id: str | None = None,
    step: str | None = None,
    comment: str | None = None,
    source: str | None = None,
    app: Any = None,
) -> None:
    """Write a score of a run at once, in one round trip.

    In the function of a step it is a score of that step, elsewhere in a task of the run, unless
    *run_id* names another run; *step* names a step of the run. Outside a task *run_id* is needed.
    *name*, *value*, *comment* and *source* are as in `Score`. The same name again replaces the
    value, and the history keeps both. A body that is replayed writes its scores again, of which
    one that says the same as the one before is left out; ``step.score`` writes once.

    Any process with the app may call this. Without *app* it is the app of the run in progress, else
    Celery's current app, else the one app with a ``Defer``. In an eager run, nothing is written.

    Raises ScoreError for a bad name, value, comment, source or id, NoRunError without a run, and
    StoreError without a Redis that replies.

    >>> score("thumb", True, run_id="3f0c", source="customer")
    """
    extension = extension_for(app)
    run = _run_in_progress(extension)
    checked = Score(name, value, comment=comment, source=source, step=step)
    row = _row(checked, run, run_id)
    if run is not None and run.is_eager and row.run == run.run.id:
        return
    if extension.store is None:
        raise StoreError

    def away(error: Exception) -> StoreError:
        # The errors of redis-py say where and why in their text, not in their repr.
        reason = f"{type(error).__name__}: {error}"
        return StoreError(
            f"score '{name}' of run {row.run} finds no store ({reason}): write it again when it "
            "is back"
        )

    task = _task_of(run, row.run)
    with guard.translated(away):
        write_rows(
            extension.store,
            [row],
            [""],
            task,
            extension.settings.score_retention,
            carried=_carried(run, row.run),
            is_known=bool(task) and step is None,
        )


def write_rows(
    store: Store,
    rows: Sequence[ScoreRow],
    keys: Sequence[str],
    task: str,
    keep: float,
    *,
    carried: Carried,
    is_known: bool = True,
) -> None:
    """Do what ``Store.score`` does, and tell others of the scores that are new."""
    new = store.score(rows, keys, task, keep, carried=carried, is_known=is_known)
    for row, is_new in zip(rows, new, strict=True):
        if is_new:
            signals.send_scored(task, row)


def _run_in_progress(extension: Any) -> Scope | None:
    """Return the run in progress, if it is of the same app."""
    run = find()
    return run if run is not None and extension_of(run.app) is extension else None


def _row(score: Score, run: Scope | None, run_id: str | None) -> ScoreRow:
    if run_id is not None and not names.is_run(run_id):
        raise ScoreError(
            f"score '{score.name}': run_id={safe_repr(run_id)[:80]} is no id of a run: give text "
            "of at most 512 bytes, in one line"
        )
    if run is None and run_id is None:
        raise NoRunError(
            f"score '{score.name}' has no run: give run_id=…, or call score inside a task"
        )
    own, step = run.run.id if run else None, score.step
    if run is not None and run_id is None:
        step = step or step_inside(run.buffer)
    return ScoreRow(
        RunId(run_id or own or ""), score.name, score.value, step, score.comment, score.source,
        by=own,
    )  # fmt: skip


def _task_of(run: Scope | None, id: RunId) -> str:
    """Return the task of a run, as far as the run in progress knows it."""
    if run is None:
        return ""
    if run.run.id == id:
        return run.run.task
    parent = run.run.parent
    return parent.task if parent is not None and parent.id == id else ""


def _carried(run: Scope | None, id: RunId) -> Carried:
    """Return the experiments of a run, as far as the run in progress knows them."""
    if run is None:
        return {}
    if run.run.id == id:
        return run.experiments
    parent = run.run.parent
    is_parent = parent is not None and parent.id == id
    return run.header.experiments if is_parent and run.header else {}
