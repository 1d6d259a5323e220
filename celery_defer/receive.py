"""What happens round the body of a run: a claim, a parsed payload, its calls handed over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from celery_defer import outbox
from celery_defer.codec import Contract
from celery_defer.envelope import Envelope
from celery_defer.model import Outcome
from celery_defer.scope import Phase, Scope

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
    envelope = Envelope.open(run.request)
    if envelope is None or run.store is None or run.is_eager:
        return False
    try:
        # Named anew each time, so that a claim whose answer was lost can be asked again.
        owner = f"{envelope.token}/{uuid4().hex}"
        claim = run.store.claim(run.run.id, owner, run.settings.claim_keeps)
    except Exception:
        logger.exception("run %s: the store is away, so it starts unclaimed", run.run.id)
        return False
    if claim.is_mine:
        return False
    if claim.owner.partition("/")[0] != envelope.token:
        return True
    return _tells_of_redelivery(run.app) and not _came_again(run.request)


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
    try:
        answer = body(*args, **kwargs)
    except Exception as error:
        if isinstance(error, undecided):
            run.drop()
        else:
            _raised(run)
        raise
    except BaseException:
        run.drop()
        raise
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


def _tells_of_redelivery(app: Any) -> bool:
    """Whether the broker marks what it delivers once more; kombu's other transports do not."""
    broker = app.conf.broker_read_url
    url = broker if isinstance(broker, str) else next(iter(broker or []), "")
    return url.partition("://")[0] in _TELLING


def _came_again(request: Mapping[str, Any]) -> bool:
    delivery = request.get("delivery_info") or {}
    return bool(delivery.get("redelivered") or request.get("retries"))


def _returned(run: Scope, answer: object) -> None:
    run.phase = Phase.RETURNED
    if run.buffered():
        outbox.stage(run, Outcome.SUCCESS, answer)
    elif _came_again(run.request):
        # What an attempt before this one has staged, and could not publish, is out of date.
        outbox.forget(run)


def _raised(run: Scope) -> None:
    """The run will fail, unless an attempt before has succeeded: Celery keeps a stored SUCCESS."""
    starts = any(Outcome.FAILURE.starts(call.options.when) for call in run.buffered())
    if _came_again(run.request) and outbox.has_succeeded(run):
        run.drop()
    elif starts:
        run.phase = Phase.RAISED
        outbox.stage(run, Outcome.FAILURE)
    else:
        run.drop()
        if _came_again(run.request):
            outbox.forget(run)
