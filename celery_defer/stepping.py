"""One step of a run, in this turn: begun, answered from its memo, or waited for."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from random import uniform
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded, TaskPredicate
from celery.utils.time import get_exponential_backoff_interval

from celery_defer import answers, durations, ids, invocation, matching, memo
from celery_defer.chords import chord_end
from celery_defer.codec import JsonType
from celery_defer.errors import (
    EventError,
    IdError,
    NotDeferredError,
    PayloadError,
    StepError,
    StoreAwayError,
)
from celery_defer.failures import failure_of, raised_by, shown, survivor, text_of
from celery_defer.flow import NonRetriable, RetryAfter
from celery_defer.ids import safe_repr
from celery_defer.memo import NOTHING, Failure, Memo
from celery_defer.model import Call
from celery_defer.parking import cancelled, left, park
from celery_defer.recalling import published, recall
from celery_defer.replay import Note, Replay
from celery_defer.scope import Phase, Scope, current, find
from celery_defer.storage import ask
from celery_defer.store import Subscription
from celery_defer.waits import Wait

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
    replay = run.replay or recall(run, id)
    if replay.is_cancelled:
        raise cancelled(run)
    return Step(run, replay, replay.key(id))


def _check_id(id: object) -> None:
    try:
        ids.check(id)
    except IdError:
        raise IdError(
            f"step id {ids.safe_repr(id)} is not a non-empty string of Unicode text"
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

    def check_call(self, fn: object, retries: object) -> None:
        """Raise StepError for what is no function, or no number of tries, before it is called."""
        if not callable(fn):
            if inspect.iscoroutine(fn):
                fn.close()  # else Python warns of it, at some other place
            given = "None" if fn is None else type(fn).__qualname__
            raise StepError(
                f"step {self.key!r}: {given} is no function: give the function and its arguments, "
                f"step.run({self.key!r}, fetch, url), not what it has answered, fetch(url)",
                self.key,
            )
        if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
            raise StepError(
                f"step {self.key!r}: retries={safe_repr(retries)} is no number of tries: give 0, "
                "or how many more tries there may be",
                self.key,
            )

    def tried(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        retries: int,
        kind: JsonType,
    ) -> Memo:
        """Call the step's function, and answer what the step comes to."""
        try:
            with self._apart() as calls:
                value = self._called(partial(fn, *args, **kwargs))
                retries = 0  # it has done its work: another try would do that again
                result = answers.pack(self.key, kind, value)
                self._check_size(result)
        except _PASSING:
            raise
        except Exception as error:
            return self._failed(error, retries)
        return self.keep(Memo(result, calls=tuple(calls)))

    def _called(self, fn: Callable[[], Any]) -> Any:
        return self.scope.app._celery_defer.call_step(self.key, fn)

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
        raise self._error(known.failure, child) from cause

    def sleep_until(self, at: float) -> None:
        if self.note is None and at > self.scope.now():
            self._park(Wait("sleep", at))

    def wait_for(self, name: str, wanted: matching.Match, longest: float) -> Memo:
        about = {"event": name, "match": dict(wanted.values)}
        wait = Wait(
            "event",
            self.scope.now() + longest,
            about,
            subscription=self._subscription(name, wanted),
        )
        return memo.unpack(self._park(wait))

    def give_up(self, name: str, wanted: matching.Match) -> Memo:
        """Answer what has come at last; nothing, in most cases."""
        run, store, nothing = self.scope, self.scope.store, memo.pack(NOTHING)
        assert store is not None  # noqa: S101
        self._keep_pending()
        wait, keep = self._subscription(name, wanted), run.settings.claim_keeps
        kept = ask(run, self.key, lambda: store.give_up(run.run.id, self.key, wait, nothing, keep))
        self.replay.memos[self.key] = kept
        return memo.unpack(kept)

    def _subscription(self, name: str, wanted: matching.Match) -> Subscription:
        run = self.scope
        since = run.run.deferred_at.timestamp() if run.run.deferred_at else self.replay.since
        # An event that is older than events are kept for may still be there.
        since = max(since, run.now() - run.settings.event_retention)
        return Subscription(name, wanted.shape, wanted.digest, since)

    def ended(self, child: tuple[str, str]) -> Memo:
        """Answer what a run has come to that this one has invoked; park until it has ended."""
        found = invocation.outcome(self.scope, self.key, child)
        if found is not None:
            return self.keep(found)
        now, end = self.scope.now(), chord_end(self.scope)
        if end is not None and now >= end:
            raise StepError(
                f"step {self.key!r} has waited for run {child[0]} for as long as the chord counts "
                "that it is in: set result_chord_expires (before Celery 5.7: result_expires) to "
                "more than such a run may take",
                self.key,
            )
        longest = now + invocation.LONGEST
        wait = Wait(
            "run",
            longest if end is None else min(longest, end),
            {"run": child[0], "task": child[1]},
            child=child,
            look=now + invocation.FIRST_LOOK,
            is_over=lambda: invocation.outcome(self.scope, self.key, child) is not None,
        )
        return memo.unpack(self._park(wait))

    def check_waits(self) -> None:
        """Raise StepError where the run cannot wait."""
        if self.scope.is_eager:
            raise StepError(
                f"step {self.key!r} waits, which an eager run cannot: run it in a worker, or with "
                "celery_defer.testing",
                self.key,
            )

    def _failed(self, error: Exception, retries: int) -> Memo:
        tries = (self.note.tries if self.note else 0) + 1
        is_over = isinstance(error, NonRetriable) or tries > retries
        if not is_over:
            now = self.scope.now()
            at = now + self._pause(error, tries)
            about = {"error": text_of(error), "try": tries + 1}
            return memo.unpack(self._park(Wait("retry", at, about, tries=tries)))
        is_final = retries > 0 or isinstance(error, NonRetriable)
        failure = failure_of(error, is_final=is_final)
        again = survivor(error, failure)
        if is_final:
            self.keep(Memo(failure=failure))
        else:  # kept if the body catches it: with the next step, or when the run parks
            self.replay.pending[self.key] = memo.pack(Memo(failure=failure))
        if again is None:
            raise self._error(failure) from shown(error)
        if is_final:
            raise self._error(failure) from again
        raise again

    def _error(self, failure: Failure, child: tuple[str, str] | None = None) -> StepError:
        whose = f"run {child[0]} ({child[1]}) ended with " if child else ""
        return StepError(f"step {self.key!r} has failed: {whose}{failure.text}", self.key)

    def _pause(self, error: Exception, tries: int) -> float:
        if isinstance(error, RetryAfter):
            return durations.seconds(self.key, error.delay)
        longest = get_exponential_backoff_interval(1, tries - 1, _LONGEST_BACKOFF)
        return longest * uniform(0.5, 1.0)  # noqa: S311  # jitter is no secret

    def _park(self, wait: Wait) -> bytes:
        self.check_waits()
        wait = replace(wait, strays=self._strays())
        self._keep_pending()
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

    def _keep_pending(self) -> None:
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

    def _check_size(self, result: str) -> None:
        limit, size = self.scope.settings.max_payload_bytes, len(result.encode())
        if size > limit:
            raise StepError(
                f"step {self.key!r} answered {size} bytes; defer_max_payload_bytes = "
                f"{limit} is the limit: keep it elsewhere, and answer where",
                self.key,
            )

    @contextmanager
    def _apart(self) -> Iterator[list[Call]]:
        """Gather what the step's function defers; if it fails, it has deferred nothing."""
        run, calls = self.scope, list[Call]()
        before = set(run.calls)
        run.step = self.key
        try:
            yield calls
            calls += [call for id, call in run.calls.items() if id not in before]
        except BaseException:
            for id in run.calls.keys() - before:
                del run.calls[id]
            raise
        finally:
            run.step = None
