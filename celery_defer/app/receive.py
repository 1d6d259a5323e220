"""What happens round the body of a run: a claim, a parsed payload, its calls handed over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from billiard.exceptions import SoftTimeLimitExceeded

from celery_defer.contract import Contract
from celery_defer.errors import Suspended
from celery_defer.model import Outcome
from celery_defer.outbox import stage as staging
from celery_defer.run import telling
from celery_defer.run.headers import Envelope, Wake
from celery_defer.run.scope import Phase, Scope
from celery_defer.steps import park as parking
from celery_defer.steps import recall as recalling
from celery_defer.store import Claim, Store

__all__ = ["is_duplicate", "perform", "unpack"]

logger = logging.getLogger(__name__)

_TELLING = frozenset(
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
    envelope, wake = Envelope.open(run.request), Wake.open(run.request)
    if envelope and envelope.step and run.run.parent:
        run.invoker = (run.run.parent.id, envelope.step)
    if wake:
        run.turn = wake.turn
    token = wake.token if wake else envelope.token if envelope else None
    if token is None:
        return False
    try:
        claim = _claim(run, run.store, token, wake)
    except SoftTimeLimitExceeded:  # as before Celery's tracer begins: the pool reports a failure
        raise
    except Exception:
        logger.exception("run %s: the store is away, so it starts unclaimed", run.run.id)
        return False
    if claim.is_mine:
        return False
    if claim.owner.partition("/")[0] != token:
        return True
    return _tells_of_redelivery(run.app) and not run.came_again


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
    run.phase = Phase.IN_BODY
    if run.turn and not run.is_shown:
        telling.show_started(run)
    try:
        answer = body(*args, **kwargs)
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
    _returned(run, answer)
    return answer


def unpack(
    run: Scope, contract: Contract, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Answer what the function takes, from what the message carries; raise PayloadError.

    A run that was not deferred came by ``delay`` or by name, and gets what it was sent.
    """
    if run.unpacked or run.run.parent is None:
        return args, kwargs
    run.unpacked = True
    return contract.unpack(args, kwargs)


def _claim(run: Scope, store: Store, token: str, wake: Wake | None) -> Claim:
    # Named anew each time, so that a claim whose answer was lost can be asked again.
    owner, keep = f"{token}/{uuid4().hex}", run.settings.claim_keeps
    if wake is None:
        return store.claim(run.run.id, owner, keep)
    # A run that comes again may have a result, which Celery would not let us write over.
    told = telling.started(run) if not run.came_again else None
    resumed = store.resume(run.run.id, wake.turn, owner, keep, told)
    run.is_shown = resumed.has_told
    if resumed.recalled.turn < wake.turn:  # the store has lost it: its next step says so
        return Claim(owner, is_mine=True)
    if resumed.claim.owner:
        recalling.know(run, resumed.recalled)
    return resumed.claim


def _check_parked(run: Scope) -> None:
    """A body that was told to end has ended, also where it has swallowed that."""
    if run.phase is Phase.PARKED:
        raise parking.left(run)
    if run.lost_store:
        run.drop()
        raise run.lost_store


def _tells_of_redelivery(app: Any) -> bool:
    """Whether the broker marks what it delivers once more; kombu's other transports do not."""
    broker = app.conf.broker_read_url
    url = broker if isinstance(broker, str) else next(iter(broker or []), "")
    return url.partition("://")[0] in _TELLING


def _returned(run: Scope, answer: object) -> None:
    _restore(run)
    run.phase = Phase.RETURNED
    if run.journal:
        staging.link_again(run, run.journal.calls())
    if run.buffered():
        staging.stage(run, Outcome.SUCCESS, answer)
    elif run.came_again:
        # What an attempt before this one has staged, and could not publish, is out of date.
        staging.forget(run)


def _raised(run: Scope) -> None:
    """The run will fail, unless an attempt before has succeeded: Celery keeps a stored SUCCESS."""
    _restore(run)
    starts = any(Outcome.FAILURE.starts(call.options.when) for call in run.buffered())
    if run.came_again and staging.has_succeeded(run):
        run.drop()
    elif starts:
        run.phase = Phase.RAISED
        staging.stage(run, Outcome.FAILURE)
    else:
        run.drop()
        if run.came_again:
            staging.forget(run)


def _restore(run: Scope) -> None:
    """What a finished step has deferred is the run's, also if this attempt had no use for it."""
    if not run.came_again:
        return
    try:
        recalling.restore(run)
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        logger.exception("run %s: what its steps have deferred is not known", run.run.id)
