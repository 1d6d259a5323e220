"""One step of a run, in this turn: begun, returned from its memo, or waited for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from celery_defer import guard, ids
from celery_defer.contract import JsonType, returns
from celery_defer.errors import (
    EventError,
    IdError,
    LimitError,
    NoRunError,
    NotDeferredError,
    PayloadError,
    ScoreError,
    StepError,
)
from celery_defer.run import Block, Failure, Memo, Phase, Scope, current, find, step_inside
from celery_defer.steps.failure import exception_of
from celery_defer.steps.park import cancelled, park, suspended
from celery_defer.steps.recall import ask, journal_of, lasting, recall
from celery_defer.steps.replay import Note, Replay, Span
from celery_defer.steps.retention import note_memos
from celery_defer.steps.variants import variants_in_progress
from celery_defer.steps.wait import Wait
from celery_defer.text import safe_repr

logger = guard.logger(__name__)

_MOST_DETOURS = 3


def begin(id: str, kind: str) -> Step:
    """Begin the next step with this id in the run in progress; *kind* is its method of ``step``."""
    scope = find()
    if scope and scope.ending.phase is Phase.PARKED and not scope.ending.has_left:
        raise suspended(scope)
    run = current()
    if isinstance(run, Block):
        raise NoRunError(
            f"step {id!r} is in a block of deferring(), which cannot be run again: put the steps "
            "into a task, and defer that"
        )
    _check_id(id)
    if run.place is not None:
        run.place.check()
    if run.ending.phase is Phase.RECEIVED:
        raise StepError(
            f"step {id!r} of run {run.run.id} comes before the body, as in before_start, where a "
            "run cannot wait: take it into the body",
            id,
        )
    replay = journal_of(run) if run.journal and run.journal.is_recalled else recall(run, id)
    if (outer := step_inside(run.buffer)) is not None:
        raise StepError(
            f"step {id!r} is inside step {outer!r} of run {run.run.id}: steps do not nest; "
            "take it out of the other's function",
            id,
        )
    if replay.is_cancelled:
        raise cancelled(run)
    key = replay.key(id)
    memo = replay.memo(key)
    _check_kind(run, key, kind, memo or replay.note(key))
    if memo is not None:
        _repeat(run, memo)
    return Step(run, replay, key, kind, memo)


def _check_id(id: object) -> None:
    try:
        ids.check(id)
    except IdError:
        raise IdError(
            f"step id {safe_repr(id)} is not a non-empty string of Unicode text"
        ) from None


def _check_kind(run: Scope, key: str, kind: str, before: Memo | Note | None) -> None:
    """Raise StepError if an earlier turn, of another version of the body, had another step here.

    What that one has left would be read as if this one had: a sleep that is over as the timeout of
    a wait, an event as what a function has returned.
    """
    if before is not None and before.kind not in ("", kind):
        raise StepError(
            f"step {key!r} of run {run.run.id} is step.{kind} now, and was step.{before.kind} when "
            "the run came to it before: give the new step an id of its own",
            key,
        )


def _repeat(run: Scope, memo: Memo) -> None:
    """Do what the finished step did to its run; its calls are there already."""
    run.buffer.come_to(*memo.calls, *memo.skipped)
    if memo.tags:
        tags = {**run.tags, **memo.tags}
        run.tags = {key: value for key, value in tags.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run, in this turn; with a *memo* it was finished before."""

    scope: Scope
    replay: Replay
    key: str
    kind: str
    memo: Memo | None

    @property
    def note(self) -> Note | None:
        return self.replay.note(self.key)

    @property
    def span(self) -> Span:
        """Since when and until when it has waited before, if it has."""
        return Span.unpack(self.replay.spans.get(self.key))

    @contextmanager
    def named(self) -> Iterator[None]:
        """Put the step's id into errors about its arguments."""
        try:
            yield
        except (EventError, LimitError, NotDeferredError, PayloadError, ScoreError) as error:
            error.args = (f"step {self.key!r}: {error}", *error.args[1:])
            raise

    def keep(self, memo: Memo) -> Memo:
        """Store the step's memo; return it, or an earlier memo of the step if there is one."""
        return self.learn(self._remember({**self.replay.pending, self.key: self.pack(memo)}))

    def learn(self, body: bytes) -> Memo:
        """Take the step's memo, which is in the store, into this turn; return it."""
        self.replay.memos[self.key] = body
        note_memos(self.scope, len(self.replay.memos))
        return Memo.unpack(body)

    def pack(self, memo: Memo) -> bytes:
        variants = variants_in_progress(self.scope)
        return replace(memo, kind=self.kind, experiments=variants).pack()

    def result(self, memo: Memo, kind: JsonType, prefix: str = "") -> Any:
        """Return the step's result, or raise its failure, with *prefix* in the message."""
        if memo.failure is None:
            return returns.unpack(self.key, kind, memo.result)
        cause = exception_of(memo.failure)
        if cause is not None and not memo.failure.is_final:
            raise cause
        raise self.error(memo.failure, prefix) from cause

    def check_waits(self) -> None:
        """Raise StepError if the run is eager, and so cannot wait."""
        if self.scope.is_eager:
            raise StepError(
                f"step {self.key!r} waits, which an eager run cannot: run it in a worker, or with "
                "celery_defer.testing",
                self.key,
            )

    def error(self, failure: Failure, prefix: str = "") -> StepError:
        return StepError(f"step {self.key!r} has failed: {prefix}{failure.text}", self.key)

    def park(self, wait: Wait) -> Memo:
        """Park the run until *wait* is over, or return the memo of an event sent before."""
        self.check_waits()
        detours = self._detours()
        self.keep_pending()
        note = Note(wait.tries, self.replay.attempt, self.replay.turn, detours, self.kind)
        return self.learn(park(self.scope, self.key, wait, note))

    def _detours(self) -> int:
        """Return how many turns in a row the body has come to another step than it waited at.

        A new version of the body may do so once; one that always does would park for ever.
        """
        diverged = self.replay.diverged()
        if diverged is None:
            return 0
        id, step, detours = self.scope.run.id, diverged[0], diverged[1] + 1
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
        """Store what has no step to go with: caught failures, and what the body did for good."""
        pending = {**self.replay.pending, **lasting(self.scope, self.replay)}
        if pending:
            self._remember(pending)

    def _remember(self, memos: dict[str, bytes]) -> bytes:
        run, store = self.scope, self.scope.store
        if run.is_eager or store is None:
            memo = memos[self.key]
        else:
            keeps = run.settings.run_keeps
            memo = ask(run, self.key, lambda: store.remember(run.run.id, memos, keeps))
        if not memo:
            raise cancelled(run)
        for key in memos:  # another thread of the run may have added some
            self.replay.pending.pop(key, None)
        return memo
