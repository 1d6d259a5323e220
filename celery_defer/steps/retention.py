"""How long the store keeps what a run remembers, and how a loss of it is found."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from celery.exceptions import Retry
from celery.utils.time import maybe_make_aware

from celery_defer import guard
from celery_defer.errors import StoreError
from celery_defer.run import STEPS, Scope, StepsHeader, fact_of_run
from celery_defer.store import Recalled, RunState

logger = guard.logger(__name__)


def is_lost(run: Scope, recalled: Recalled) -> bool:
    """Whether the store has less than the message of the run says."""
    has_memos = len(recalled.memos) >= StepsHeader.of(run.request).memos
    return recalled.turn < run.turn or not has_memos


def check_kept(run: Scope, recalled: Recalled) -> None:
    """Raise StoreError if the store has lost what the run has finished."""
    if is_lost(run, recalled):
        raise StoreError(
            f"the store has forgotten the steps of run {run.run.id}, so this ends here: they would "
            "be done again. A Redis keeps them for a week after the last one, if it loses nothing"
        )


def attempt_of(run: Scope) -> int:
    """Return which attempt of its task the run is in; one after an outage goes on with the last."""
    return run.run.attempt - StepsHeader.of(run.request).outages


def note_memos(run: Scope, memos: int) -> None:
    """Let the message of a retry say how many memos there are."""
    _change_header(run, memos=memos)


def note_outage(run: Scope) -> None:
    """Let the message of a retry say that it is made because the store is away."""
    _change_header(run, outages=StepsHeader.of(run.request).outages + 1)


def note_variant(run: Scope) -> None:
    """Let the message of a retry or a wake-up say that the run has taken a variant."""
    _change_header(run, variants=1)


def headers_of(run: Scope) -> dict[str, Any]:
    """Return the headers of the run's message, as a run that parks keeps them.

    Its turn says more than the number of its memos.
    """
    outages = StepsHeader.of(run.request).outages
    variants = StepsHeader.of(_headers(run)).variants
    headers = {name: value for name, value in _headers(run).items() if name != STEPS}
    if not outages and not variants:
        return headers
    return {**headers, STEPS: StepsHeader(outages=outages, variants=variants).pack()}


def keep_until_retried(run: Scope, error: BaseException) -> None:
    """Keep what the run remembers for as long as its retry may wait for a worker."""
    if isinstance(error, Retry):
        wait = seconds_until(run, error.when)
        with guard.logged(
            logger, "run %s: its steps may be forgotten before its retry", run.run.id
        ):
            _expire(run, wait + run.settings.run_keeps)
            _stay_open(run, wait)


def keep_after_end(run: Scope) -> None:
    """Keep what a run that has ended remembers for late deliveries of its messages.

    If the store is away, it keeps that for longer.
    """
    if run.journal is not None and not run.ending.has_expiry:
        guard.attempt(lambda: _expire(run, run.settings.end_keeps))


def seconds_until(run: Scope, when: Any) -> float:
    """Return how long a retry waits: celery.exceptions.Retry has a countdown, or a time."""
    if isinstance(when, datetime):
        return max(0.0, maybe_make_aware(when).timestamp() - run.now())
    return float(when or 0.0)


# -- private ------------------------------------------------------------------------------


def _expire(run: Scope, keep: float) -> None:
    has_steps = run.journal is not None and run.journal.is_recalled and not run.is_eager
    if has_steps and run.store is not None:
        run.store.expire(run.run.id, run.turn, keep)


def _stay_open(run: Scope, wait: float) -> None:
    """Let a run count as open in its experiments until its retry."""
    if wait and run.experiments and run.store is not None and not run.is_eager:
        run.store.note(fact_of_run(run, RunState.RUNNING, wait=wait))


def _headers(run: Scope) -> dict[str, Any]:
    return dict(run.context.headers or {})


def _change_header(run: Scope, **changes: int) -> None:
    """Change the header that celery.app.task.Task.retry copies from the task's request."""
    if not run.is_eager:
        header = replace(StepsHeader.of(_headers(run)), **changes)
        run.context.headers = {**_headers(run), STEPS: header.pack()}
