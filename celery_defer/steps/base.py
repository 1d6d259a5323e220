"""One step of a run, in this turn: begun, returned from its memo, or waited for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from celery_defer import ids
from celery_defer.contract import JsonType, returns
from celery_defer.errors import (
    EventError,
    IdError,
    NotDeferredError,
    PayloadError,
    StepError,
)
from celery_defer.run import Failure, Memo, Phase, Scope, current, find
from celery_defer.steps.failure import raised_by
from celery_defer.steps.park import cancelled, left, park
from celery_defer.steps.recall import ask, journal_of, published, recall
from celery_defer.steps.replay import Note, Replay
from celery_defer.steps.wait import Wait
from celery_defer.text import safe_repr

logger = logging.getLogger(__name__)

_MOST_DETOURS = 3


def begin(id: str) -> Step:
    """Begin the next step of the run in progress that has this id."""
    scope = find()
    if scope is not None and scope.ending.phase is Phase.PARKED:
        raise left(scope)
    run = current()
    _check_id(id)
    replay = journal_of(run) if run.journal and run.journal.is_known else recall(run, id)
    if replay.step is not None:
        raise StepError(
            f"step {id!r} is inside step {replay.step!r} of run {run.run.id}: steps do not nest; "
            "take it out of the other's function",
            id,
        )
    if replay.is_cancelled:
        raise cancelled(run)
    return Step(run, replay, replay.key(id))


def _check_id(id: object) -> None:
    try:
        ids.check(id)
    except IdError:
        raise IdError(
            f"step id {safe_repr(id)} is not a non-empty string of Unicode text"
        ) from None


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run, in this turn."""

    scope: Scope
    replay: Replay
    key: str

    def memo(self) -> Memo | None:
        return self.replay.memo(self.key)

    @property
    def note(self) -> Note | None:
        return self.replay.note(self.key)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Let the errors that what a step was given raises name the step too."""
        try:
            yield
        except (EventError, NotDeferredError, PayloadError) as error:
            error.args = (f"step {self.key!r}: {error}", *error.args[1:])
            raise

    def keep(self, memo: Memo) -> Memo:
        """Remember what the step has come to; return what it has come to before, if it has."""
        body = self._remember({**self.replay.pending, self.key: memo.pack()})
        self.replay.memos[self.key] = body
        return Memo.unpack(body)

    def result(self, memo: Memo, kind: JsonType, prefix: str = "") -> Any:
        """Return the step's result, or raise what it ended with; *prefix* comes before that."""
        if memo.failure is None:
            return returns.unpack(self.key, kind, memo.result)
        cause = raised_by(memo.failure)
        if cause is not None and not memo.failure.is_final:
            raise cause
        raise self.error(memo.failure, prefix) from cause

    def check_waits(self) -> None:
        """Raise StepError where the run cannot wait."""
        if self.scope.is_eager:
            raise StepError(
                f"step {self.key!r} waits, which an eager run cannot: run it in a worker, or with "
                "celery_defer.testing",
                self.key,
            )

    def error(self, failure: Failure, prefix: str = "") -> StepError:
        return StepError(f"step {self.key!r} has failed: {prefix}{failure.text}", self.key)

    def park(self, wait: Wait) -> bytes:
        """Park the run until *wait* is over; or return the memo of an event that came before."""
        self.check_waits()
        wait = replace(wait, detours=self._detours())
        self.keep_pending()
        memo = park(self.scope, self.key, wait)
        self.replay.memos[self.key] = memo
        return memo

    def _detours(self) -> int:
        """Return how many turns in a row the body has waited elsewhere than in the one before.

        A new version of it may do so once; a body that does each time would park for ever.
        """
        before = self.replay.diverged(self.scope.run.attempt)
        if before is None:
            return 0
        id, step, detours = self.scope.run.id, before[0], before[1] + 1
        if detours >= _MOST_DETOURS:
            raise StepError(
                f"run {id} has waited at step {step!r}, and comes to {self.key!r} without it when "
                f"it is run again, for the {detours}rd time: the body must take the same way each "
                "time, so read clocks, random numbers and databases inside step.run",
                self.key,
            )
        logger.warning(
            "run %s has waited at step %r, and comes to %r without it when it is run again",
            id,
            step,
            self.key,
        )
        return detours

    def keep_pending(self) -> None:
        """Keep what is known besides: caught failures, and what the body has published at once."""
        pending = {**self.replay.pending, **published(self.scope, self.replay)}
        if pending:
            self._remember(pending)

    def _remember(self, memos: dict[str, bytes]) -> bytes:
        run, store = self.scope, self.scope.store
        if run.is_eager or store is None:
            memo = memos[self.key]
        else:
            keeps = run.settings.claim_keeps
            memo = ask(run, self.key, lambda: store.remember(run.run.id, memos, keeps))
        if not memo:
            raise cancelled(run)
        self.replay.pending.clear()
        return memo
