"""How a step scores its run."""

from __future__ import annotations

from celery_defer import guard
from celery_defer.contract import returns
from celery_defer.scoring import Score, write_rows
from celery_defer.steps.attempt import attempt
from celery_defer.steps.base import Step
from celery_defer.steps.recall import away, store_of
from celery_defer.store import ScoreRow
from celery_defer.text import text_of


def write_score(step: Step, score: Score) -> None:
    """Write a score of the step's run, once in the run."""

    def write() -> None:
        if not step.scope.is_eager:
            _write(step, score)

    kind = returns.of_function(write)
    step.result(step.memo or attempt(step, write, kind), kind)


def _write(step: Step, score: Score) -> None:
    run, store = step.scope, store_of(step.scope)
    row = ScoreRow(
        run.run.id, score.name, score.value, score.step,
        comment=score.comment, source=score.source, by=run.run.id,
    )  # fmt: skip
    # With its key it is written once, also if the worker dies before the step has its memo.
    key, keep = f"{run.run.id}\0{step.key}", run.settings.score_retention

    def lost(error: Exception) -> Exception:
        return away(run, f"step {step.key!r} finds no store: {text_of(error)}")

    with guard.translated(lost):
        write_rows(store, [row], [key], run.run.task, keep, carried=run.experiments)
