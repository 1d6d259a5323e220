"""What happens round the body of a run: its payload is parsed, its calls are linked or dropped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celery_defer import outbox
from celery_defer.codec import Contract
from celery_defer.scope import Phase, Scope

__all__ = ["perform", "unpack"]

logger = logging.getLogger(__name__)


def perform(
    run: Scope, body: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Run *body* as the body of *run*: what it defers is linked if it returns, else dropped."""
    run.phase = Phase.IN_BODY
    try:
        answer = body(*args, **kwargs)
    except BaseException:
        run.drop()
        raise
    run.phase = Phase.RETURNED
    if run.calls:
        _link(run)
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


def _link(run: Scope) -> None:
    try:
        outbox.link(run)
    except Exception:  # nothing here may change what the body has achieved
        logger.exception("run %s (%s): its links are not stored", run.run.id, run.run.task)
