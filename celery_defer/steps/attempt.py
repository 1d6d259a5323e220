"""One try of a step: its function is called, and what becomes of it is the step's memo."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded, TaskPredicate
from celery.result import AsyncResult, GroupResult

from celery_defer.contract import JsonType, returns
from celery_defer.current import extension_of
from celery_defer.errors import StepError, StoreAwayError
from celery_defer.run import MOST_WITHOUT_RUN, Changes, Memo, tracing
from celery_defer.steps.base import Step
from celery_defer.steps.failure import as_cause, as_replayed, failure_of
from celery_defer.steps.retry import is_final, next_try

# These leave the body on purpose, at a time limit, or because the store is away.
_PASSING = (TaskPredicate, SoftTimeLimitExceeded, StoreAwayError)


def check(step: Step, fn: object) -> None:
    """Raise StepError if *fn* is not a function."""
    if callable(fn):
        return
    if inspect.iscoroutine(fn):
        fn.close()  # or Python warns elsewhere that it was never awaited
    kind = "None" if fn is None else type(fn).__qualname__
    raise StepError(
        f"step {step.key!r}: {kind} is no function: give the function and its arguments, "
        f"step.run({step.key!r}, fetch, url), not what it has returned, fetch(url)",
        step.key,
    )


def attempt(step: Step, call: Callable[[], Any], kind: JsonType, retries: int = 0) -> Memo:
    """Call the step's function, and return the step's memo."""
    changes = Changes(step.scope.buffer, step.key)
    changes.began, changes.opened = step.scope.now(), monotonic()
    try:
        with _inside(step, changes):
            tries = step.note.tries if step.note else 0
            with tracing().step(step.key, step.kind, tries):
                value = extension_of(step.scope.app).call_step(step.key, call)
            retries = 0  # the function has had its effect: do not repeat it
            limit = step.scope.settings.max_payload_bytes
            result = returns.pack(step.key, kind, value, limit, _id_of)
    except _PASSING:
        raise
    except Exception as error:
        return _failed(step, error, retries, changes)
    return step.keep(_memo(step, changes, result=result))


def _id_of(value: object) -> str:
    """Return the id of what ``delay`` returns, for which there is no JSON."""
    if isinstance(value, AsyncResult | GroupResult):
        return str(value.id)
    raise TypeError(f"{type(value).__qualname__} has no JSON")


def _failed(step: Step, error: Exception, retries: int, changes: Changes) -> Memo:
    if wait := next_try(step, error, retries):
        return step.park(replace(wait, began=step.span.since or changes.began))
    failure = failure_of(error, is_final=is_final(error, retries))
    replayed = as_replayed(error, failure)
    memo = _memo(step, changes, failure=failure)
    if failure.is_final:
        step.keep(memo)
    else:  # stored with the next step, or when the run parks, if the body catches it
        step.replay.catch(step.key, step.pack(memo))
    if replayed is None:
        raise step.error(failure) from as_cause(error)
    if failure.is_final:
        raise step.error(failure) from replayed
    raise replayed


@contextmanager
def _inside(step: Step, changes: Changes) -> Iterator[None]:
    """Revert what the step's function has done to the calls of its run, if it fails."""
    try:
        yield
    except BaseException:
        step.scope.buffer.revert(changes)
        raise
    finally:
        changes.leave()


def _memo(step: Step, changes: Changes, **outcome: Any) -> Memo:
    """Return the memo of the step with this outcome, and with what its function did to calls."""
    now = step.scope.buffer.calls  # empty if another thread has parked the run
    made = tuple(now.get(id, call) for id, call in changes.made.items())
    skipped = tuple(changes.skipped[:MOST_WITHOUT_RUN])
    return Memo(
        **outcome,
        calls=made,
        skipped=skipped,
        aborted=tuple(changes.aborted),
        began=changes.began,
        took=monotonic() - changes.opened,
        tags=changes.tags,
    )
