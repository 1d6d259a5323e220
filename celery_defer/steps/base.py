"""One step of a run, in this turn: begun, answered from its memo, or waited for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded, TaskPredicate

from celery_defer import ids
from celery_defer.contract import JsonType
from celery_defer.contract import returns as answers
from celery_defer.errors import (
    EventError,
    IdError,
    NotDeferredError,
    PayloadError,
    StepError,
    StoreAwayError,
)
from celery_defer.run import memo
from celery_defer.run.memo import Failure, Memo
from celery_defer.run.scope import Phase, Scope, current, find
from celery_defer.steps.failure import raised_by
from celery_defer.steps.park import cancelled, left, park
from celery_defer.steps.recall import journal_of, published, recall
from celery_defer.steps.replay import Note, Replay
from celery_defer.steps.storage import ask
from celery_defer.steps.wait import Wait
from celery_defer.text import safe_repr

__all__ = ["Step", "begin"]

logger = logging.getLogger(__name__)

# By these a body is left on purpose, because its time is over, or for want of a store.
_PASSING = (TaskPredicate, SoftTimeLimitExceeded, StoreAwayError)
_MOST_STRAYS = 3
# Seconds between the tries of a step: a random part of 1, 2, 4 … up to the longest.
_LONGEST_BACKOFF = 600


def begin(id: str) -> Step:
    found = find()
    if found is not None and found.phase is Phase.PARKED:
        raise left(found)
    run = current()
    _check_id(id)
    if run.step is not None:
        raise StepError(
            f"step {id!r} is inside step {run.step!r} of run {run.run.id}: steps do not nest; "
            "take it out of the other's function",
            id,
        )
    replay = journal_of(run) if run.journal else recall(run, id)
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

    def keep(self, found: Memo) -> Memo:
        """Remember what the step has come to; answer what it has come to before, if it has."""
        kept = self._remember({**self.replay.pending, self.key: memo.pack(found)})
        self.replay.memos[self.key] = kept
        return memo.unpack(kept)

    def answer(self, known: Memo, kind: JsonType, child: tuple[str, str] | None = None) -> Any:
        """Answer the step's result, or raise what it ended with: itself, or the run it invoked."""
        if known.failure is None:
            return answers.unpack(self.key, kind, known.result)
        cause = raised_by(known.failure)
        if cause is not None and not known.failure.is_final:
            raise cause
        raise self.error(known.failure, child) from cause

    def check_waits(self) -> None:
        """Raise StepError where the run cannot wait."""
        if self.scope.is_eager:
            raise StepError(
                f"step {self.key!r} waits, which an eager run cannot: run it in a worker, or with "
                "celery_defer.testing",
                self.key,
            )

    def error(self, failure: Failure, child: tuple[str, str] | None = None) -> StepError:
        whose = f"run {child[0]} ({child[1]}) ended with " if child else ""
        return StepError(f"step {self.key!r} has failed: {whose}{failure.text}", self.key)

    def park(self, wait: Wait) -> bytes:
        self.check_waits()
        wait = replace(wait, strays=self._strays())
        self.keep_pending()
        found = park(self.scope, self.key, wait)
        self.replay.memos[self.key] = found
        return found

    def _strays(self) -> int:
        """Answer how many turns in a row the body has waited elsewhere than in the one before.

        A new version of it may do so once; a body that does each time would park for ever.
        """
        left = self.replay.strayed(self.scope.run.attempt)
        if left is None:
            return 0
        id, step, strays = self.scope.run.id, left[0], left[1] + 1
        if strays >= _MOST_STRAYS:
            raise StepError(
                f"run {id} has waited at step {step!r}, and comes to {self.key!r} without it when "
                f"it is run again, for the {strays}rd time: the body must take the same way each "
                "time, so read clocks, random numbers and databases inside step.run",
                self.key,
            )
        logger.warning(
            "run %s has waited at step %r, and comes to %r without it when it is run again",
            id,
            step,
            self.key,
        )
        return strays

    def keep_pending(self) -> None:
        """Keep what is known besides: caught failures, and what the body has published at once."""
        pending = {**self.replay.pending, **published(self.scope, self.replay)}
        if pending:
            self._remember(pending)

    def _remember(self, known: dict[str, bytes]) -> bytes:
        run, store = self.scope, self.scope.store
        if run.is_eager or store is None:
            kept = known[self.key]
        else:
            keeps = run.settings.claim_keeps
            kept = ask(run, self.key, lambda: store.remember(run.run.id, known, keeps))
        if not kept:
            raise cancelled(run)
        self.replay.pending.clear()
        return kept
