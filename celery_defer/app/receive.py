"""What happens around the body of a run: a claim, a parsed payload, a commit of its calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import iscoroutine
from typing import Any

from celery.exceptions import Retry

from celery_defer import guard, subject
from celery_defer.app.final import result_of
from celery_defer.broker import marks_redelivery
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
    WakeHeader,
    fact_of_run,
    report_started,
    started_commands,
    tracing,
)
from celery_defer.steps import (
    is_lost,
    keep_until_retried,
    load_steps,
    restore,
    suspended,
    write_scores,
)
from celery_defer.store import Claim, RunState, Store, is_of_one_message, owner_of

logger = guard.logger(__name__)


def is_duplicate(run: Scope) -> bool:
    """Whether another message owns this message's run, so that it must not start here.

    The first message of a deferred run owns it, and so do its redeliveries and retries. Another
    message with the same id is a second publication, or was sent before ``abort``.
    """
    if run.store is None or run.is_eager:
        return False
    header = run.wake or run.header
    if header is None:
        return False
    owner = owner_of(run.task.name, header.token)
    claim = Claim("", is_mine=True)
    # A soft time limit here makes the pool report a failure, as before Celery's tracer begins.
    with guard.logged(
        logger,
        "run %s: the store is away, so it starts unclaimed",
        run.run.id,
        about=subject.of_run(run.run),
    ):
        claim = _claim(run, run.store, owner)
    if claim.is_mine:
        return False
    if not is_of_one_message(claim.owner, owner):
        return True
    return marks_redelivery(run.app) and not run.came_again


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
    result = result_of(body, args, kwargs)
    if not run.is_scorer or iscoroutine(result):
        return result
    _check_parked(run)
    return write_scores(run, result)


def _claim(run: Scope, store: Store, owner: str) -> Claim:
    if run.wake is None:
        settles = bool(run.header and run.header.step)
        return store.claim(
            run.run.id,
            owner,
            run.settings.claim_expires,
            settles=settles,
            facts=fact_of_run(run, RunState.RUNNING),
            is_retry=bool(run.request.get("retries")),
        )
    return _resume(run, store, run.wake, owner)


def _resume(run: Scope, store: Store, wake: WakeHeader, owner: str) -> Claim:
    keep, report = run.settings.run_keeps, started_commands(run)
    resumed = store.resume(
        run.run.id,
        wake.turn,
        owner,
        keep,
        report,
        facts=fact_of_run(run, RunState.RUNNING),
        is_retry=bool(run.request.get("retries")),
    )
    if resumed.recalled.turn < wake.turn:  # the store has lost the run: its next step raises
        return Claim(owner, is_mine=True)
    if resumed.claim.is_mine and not is_lost(run, resumed.recalled):
        load_steps(run, resumed.recalled)
    if resumed.claim.is_mine and not resumed.has_reported:
        report_started(run)
    return resumed.claim


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
