"""What happens around the body of a run: a parsed payload, a fence, a commit of its calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import iscoroutine
from typing import Any

from celery.exceptions import Retry

from celery_defer import guard
from celery_defer.app.final import result_of
from celery_defer.contract import Deferrable
from celery_defer.errors import PayloadError, Suspended
from celery_defer.model import Outcome
from celery_defer.outbox import (
    commit,
    commit_failure,
    forget,
    has_succeeded,
    hook_ends,
    names_winner,
)
from celery_defer.run import (
    Phase,
    Scope,
    tracing,
)
from celery_defer.steps import (
    keep_until_retried,
    restore,
    suspended,
    write_scores,
)

logger = guard.logger(__name__)


def perform(
    run: Scope,
    body: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    undecided: tuple[type[BaseException], ...],
) -> Any:
    """Run *body* as the body of *run*, and commit its calls, unless it returns a coroutine.

    After the exceptions *undecided* Celery runs the task again, or stores no result.
    """
    run.context, run.ending.phase = run.task.request, Phase.IN_BODY
    tracing().began(run)
    try:
        result = _result(run, body, args, kwargs)
    except Suspended:  # or Cancelled, which ends the run
        raise
    except Exception as error:
        _check_parked(run, error)
        if run.has_deferred or run.journal or run.came_again or run.is_known:
            hook_ends(run)
        if isinstance(error, undecided):
            run.drop()
            keep_until_retried(run, error)
        else:
            _raised(run)
        raise
    except BaseException:
        _check_parked(run)
        run.drop()
        raise
    if iscoroutine(result):
        return result  # the body is still to run: the caller awaits it
    _check_parked(run)
    _returned(run)
    return result


def unpack(
    run: Scope,
    read: Callable[[Any], Deferrable[..., Any]],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return the function's arguments, parsed from those of the message; raise PayloadError.

    *read* returns what ``defer`` takes of a task, or raises ContractError. A run that was not
    deferred, but sent by ``delay`` or by name, gets its arguments unchanged.
    """
    if run.is_unpacked or run.header is None:
        return args, kwargs
    run.is_unpacked = True
    contract = read(run.task).contract
    try:
        return contract.unpack(args, kwargs)
    except PayloadError as error:
        if run.wake is None:
            raise
        raise PayloadError(
            f"run {run.run.id} has waited with a payload that {run.run.task} took when it began, "
            f"and does not take now ({error}): as long as such runs wait, let new fields be "
            "optional and old ones stay",
            error.problems,
        ) from error


def _result(
    run: Scope, body: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Return the result of the body, or raise its error; what a scorer returns is written."""
    result = _fenced(run, body, args, kwargs)
    if not run.is_scorer or iscoroutine(result):
        return result
    _check_parked(run)
    return write_scores(run, result)


def _fenced(
    run: Scope, body: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Return the result of the body; raise LeaseLostError if the run has lost its place."""
    if run.place is None:
        return result_of(body, args, kwargs)
    return run.place.inside(partial(result_of, body, args, kwargs))


def _check_parked(run: Scope, error: Exception | None = None) -> None:
    """End a run that has parked or lost its store, even if its body swallowed the exception."""
    if run.ending.phase is Phase.PARKED:
        raise suspended(run)
    is_retried = isinstance(error, Retry)  # by autoretry_for=(Exception,), say
    if run.journal and run.journal.lost_store and not is_retried:
        run.drop()
        raise run.journal.lost_store


def _returned(run: Scope) -> None:
    came_again = run.came_again
    if not (came_again or run.is_known or run.has_deferred or run.journal):  # as most runs
        run.ending.phase = Phase.RETURNED
        return
    if came_again or run.wake:
        _restore(run)
    run.ending.phase = Phase.RETURNED
    has_calls = run.has_deferred and bool(run.buffer.waiting())
    has_calls = has_calls or bool(run.journal and any(run.journal.calls()))
    # Calls that an earlier attempt staged, and could not publish, are out of date.
    has_come_empty = came_again and not has_calls
    clears = has_come_empty and names_winner(run)
    if has_come_empty and not clears and not forget(run):
        run.drop()
        return
    # Without calls too, a commit stores the result in one round trip, where Celery needs two. A
    # run that was claimed has had one more; one with calls that were skipped writes them with it.
    if has_calls or run.has_deferred or run.is_known or clears:
        with guard.logged(
            logger, "run %s (%s): its calls are not committed", run.run.id, run.run.task
        ):
            commit(run)


def _raised(run: Scope) -> None:
    """Stage the calls that wait for a failure, unless an earlier attempt has succeeded."""
    if run.came_again or run.wake:
        _restore(run)
    if run.came_again and has_succeeded(run):
        run.drop()
        return
    run.ending.phase = Phase.RAISED
    if run.has_deferred:
        run.buffer.drop_unless(Outcome.FAILURE)
    if run.has_deferred and run.buffer.waiting():
        commit_failure(run)
    elif run.came_again and not names_winner(run):
        forget(run)


def _restore(run: Scope) -> None:
    """Restore the calls of finished steps, even of steps that this attempt has not reached."""
    with guard.logged(logger, "run %s: what its steps have deferred is not known", run.run.id):
        restore(run)
