"""What happens round the body of a run: a claim, a parsed payload, its calls handed over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from celery_defer import guard
from celery_defer.contract import Contract
from celery_defer.errors import Suspended
from celery_defer.model import Outcome
from celery_defer.outbox import commit, commit_failure, forget, has_succeeded
from celery_defer.run import Phase, Scope, WakeHeader, report_started, started_commands
from celery_defer.steps import load_steps, restore, suspended
from celery_defer.store import Claim, Store

logger = logging.getLogger(__name__)

# These mark what they deliver once more; kombu's other transports do not.
_MARKING = frozenset(
    {"amqp", "amqps", "pyamqp", "librabbitmq", "memory", "py-amqp"}
    | {"redis", "rediss", "redis+socket", "sentinel"}
)


def is_duplicate(run: Scope) -> bool:
    """Whether this message's run belongs to another one, and so must not start here.

    The first message of a deferred run has it, through all that Celery itself makes of that
    message: its redeliveries and its retries. Another message with the same id is a second
    publication, or comes after ``abort``.
    """
    if run.store is None or run.is_eager:
        return False
    named = run.wake or run.header
    if named is None:
        return False
    claim = Claim("", is_mine=True)
    # As before Celery's tracer begins, a soft time limit makes the pool report a failure.
    with guard.logged(logger, "run %s: the store is away, so it starts unclaimed", run.run.id):
        claim = _claim(run, run.store, named.token)
    if claim.is_mine:
        return False
    if claim.owner.partition("/")[0] != named.token:
        return True
    return _marks_redelivery(run.app) and not run.came_again


def perform(
    run: Scope,
    body: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    undecided: tuple[type[BaseException], ...],
) -> Any:
    """Run *body* as the body of *run*, and hand over what it defers.

    *undecided* are the exceptions by which Celery's run goes on or leaves no result.
    """
    run.ending.phase = Phase.IN_BODY
    try:
        result = body(*args, **kwargs)
    except Suspended:  # or Cancelled, which ends the run
        raise
    except Exception as error:
        _check_parked(run)
        if isinstance(error, undecided):
            run.drop()
        else:
            _raised(run)
        raise
    except BaseException:
        _check_parked(run)
        run.drop()
        raise
    _check_parked(run)
    _returned(run)
    return result


def unpack(
    run: Scope, contract: Contract, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return what the function takes, from what the message carries; raise PayloadError.

    A run that was not deferred came by ``delay`` or by name, and gets what it was sent.
    """
    if run.is_unpacked or run.header is None:
        return args, kwargs
    run.is_unpacked = True
    return contract.unpack(args, kwargs)


def _claim(run: Scope, store: Store, token: str) -> Claim:
    # Named anew each time, so that a claim whose reply was lost can be asked again.
    owner, keep = f"{token}/{uuid4().hex}", run.settings.claim_keeps
    if run.wake is None:
        return store.claim(run.run.id, owner, keep)
    return _resume(run, store, run.wake, owner, keep)


def _resume(run: Scope, store: Store, wake: WakeHeader, owner: str, keep: float) -> Claim:
    report = started_commands(run)
    resumed = store.resume(run.run.id, wake.turn, owner, keep, report)
    if resumed.recalled.turn < wake.turn:  # the store has lost it: its next step says so
        return Claim(owner, is_mine=True)
    if resumed.claim.owner:
        load_steps(run, resumed.recalled)
    if resumed.claim.is_mine and not resumed.has_reported:
        report_started(run)
    return resumed.claim


def _check_parked(run: Scope) -> None:
    """A body that was told to end has ended, also where it has swallowed that."""
    if run.ending.phase is Phase.PARKED:
        raise suspended(run)
    if run.journal and run.journal.lost_store:
        run.drop()
        raise run.journal.lost_store


def _marks_redelivery(app: Any) -> bool:
    """Whether the broker marks what it delivers once more."""
    broker = app.conf.broker_read_url
    url = broker if isinstance(broker, str) else next(iter(broker or []), "")
    return url.partition("://")[0] in _MARKING


def _returned(run: Scope) -> None:
    came_again = run.came_again
    if came_again:
        _restore(run)
    run.ending.phase = Phase.RETURNED
    has_calls = run.has_deferred and bool(run.buffer.waiting())
    has_calls = has_calls or bool(run.journal and any(run.journal.calls()))
    if came_again and not has_calls:
        # What an attempt before this one has staged, and could not publish, is out of date.
        forget(run)
    # A run that was claimed has its result stored in one round trip, for the one that cost.
    if has_calls or run.is_claimed:
        with guard.logged(
            logger, "run %s (%s): its calls are not committed", run.run.id, run.run.task
        ):
            commit(run)


def _raised(run: Scope) -> None:
    """The run will fail, unless an attempt before has succeeded: Celery keeps a stored SUCCESS."""
    if run.came_again:
        _restore(run)
    starts = any(Outcome.FAILURE.starts(call.options.when) for call in run.buffer.waiting())
    if run.came_again and has_succeeded(run):
        run.drop()
    elif starts:
        run.ending.phase = Phase.RAISED
        commit_failure(run)
    else:
        run.drop()
        if run.came_again:
            forget(run)


def _restore(run: Scope) -> None:
    """What a finished step has deferred is the run's, also if this attempt had no use for it."""
    with guard.logged(logger, "run %s: what its steps have deferred is not known", run.run.id):
        restore(run)
