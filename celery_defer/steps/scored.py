"""How what a scorer returns is written to the run that has deferred it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from celery_defer import guard
from celery_defer.errors import ScoreError, StoreError
from celery_defer.run import Parent, Scope
from celery_defer.scoring import Score, write_rows
from celery_defer.steps.recall import away
from celery_defer.store import ScoreRow
from celery_defer.text import safe_repr, text_of

logger = guard.logger(__name__)

_FIX = "return Score(name, value), a list of them, or None"


def write_scores(run: Scope, returned: object) -> Any:
    """Write what the body of a scorer has returned to its parent run; return it as plain JSON.

    Raises ScoreError for what is no score, and StoreAwayError, after which it is tried again.
    """
    scores = _scores(run, returned)
    parent = run.run.parent
    if scores and parent is None:
        logger.warning(
            "scorer %s of run %s was not deferred, so its scores belong to no run: call it with "
            "defer, not with delay",
            run.run.task,
            run.run.id,
        )
    elif scores and parent is not None and not run.is_eager:
        _write(run, parent, scores)
    plain = [_plain(score) for score in scores]
    return plain[0] if isinstance(returned, Score) else None if returned is None else plain


def _scores(run: Scope, returned: object) -> list[Score]:
    if returned is None:
        return []
    if isinstance(returned, Score):
        return [returned]
    if not isinstance(returned, list | tuple):
        raise ScoreError(f"scorer {run.run.task} returned {_shown(returned)}: {_FIX}")
    for number, each in enumerate(returned, 1):
        if not isinstance(each, Score):
            raise ScoreError(
                f"scorer {run.run.task} returned a list whose item {number} is {_shown(each)}: "
                f"{_FIX}"
            )
    _check_once(run, returned)
    return list(returned)


def _check_once(run: Scope, scores: Sequence[Score]) -> None:
    seen = set()
    for score in scores:
        if (score.step, score.name) in seen:
            raise ScoreError(
                f"scorer {run.run.task} returned two scores '{score.name}': give each a name of "
                "its own"
            )
        seen.add((score.step, score.name))


def _shown(value: object) -> str:
    return f"{type(value).__qualname__} {safe_repr(value)[:80]}, which is no score"


def _write(run: Scope, parent: Parent, scores: Sequence[Score]) -> None:
    store, by = run.store, run.run.id
    if store is None:
        raise StoreError(
            f"scorer {run.run.task} has no place to write scores to: set "
            "defer_store_url = 'redis://…'"
        )
    rows = [ScoreRow(parent.id, by=by, **asdict(score)) for score in scores]
    # Of one scorer, the first score of a target and name stays: it may be tried, delivered or
    # replayed several times.
    keys = [f"{by}\0{score.step or ''}\0{score.name}" for score in scores]
    carried = run.header.experiments if run.header else {}
    is_known = all(score.step is None for score in scores)  # the store looks for the steps

    def lost(error: Exception) -> Exception:
        return away(run, f"the scores of run {by} find no store: {text_of(error)}")

    with guard.translated(lost):
        write_rows(
            store, rows, keys, parent.task, run.settings.score_retention,
            carried=carried, is_known=is_known,
        )  # fmt: skip


def _plain(score: Score) -> dict[str, Any]:
    return {name: value for name, value in asdict(score).items() if value is not None}
