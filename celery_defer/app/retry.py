"""How a run whose store is away is tried again."""

from __future__ import annotations

from time import monotonic, sleep
from typing import Any

from celery.exceptions import Reject

from celery_defer import guard
from celery_defer.run import Scope

logger = guard.logger(__name__)

# The backoff, in seconds, of a run whose store is away: 2, 4, 8 … up to a minute.
_MOST_DOUBLINGS = 6
_LONGEST_BACKOFF = 60.0
# For how many seconds the message of a retry is offered to a broker that does not take it.
_PATIENCE = 600.0
_FIRST_PAUSE = 0.2


def retry(scope: Scope, error: Exception) -> Any:
    """Retry a run whose store is away, whatever ``max_retries`` its task has.

    Finished steps keep their memos. A Redis that is full may be the broker too, and refuse the
    message; then the run stays in its worker, because nobody else has it.
    """
    ends, pause = monotonic() + _PATIENCE, _FIRST_PAUSE
    while True:
        try:
            return _publish(scope, error)
        except Reject as refusal:  # celery.app.task.Task.retry, if it cannot publish
            if monotonic() + pause > ends:
                raise
            if pause == _FIRST_PAUSE:
                logger.error(
                    "run %s (%s) waits in its worker, because the broker does not take its retry: "
                    "%r",
                    scope.run.id,
                    scope.run.task,
                    refusal.args[0],
                )
        sleep(pause)
        pause = min(2 * pause, _LONGEST_BACKOFF)


def _publish(scope: Scope, error: Exception) -> Any:
    """Publish the message of the retry; raise Celery's Retry."""
    retries = scope.task.request.retries
    backoff = min(2.0 ** min(retries + 1, _MOST_DOUBLINGS), _LONGEST_BACKOFF)
    try:
        return scope.task.retry(exc=error, countdown=backoff, max_retries=retries + 1)
    finally:  # where celery.app.autoretry would find it in later runs
        vars(scope.task).pop("override_max_retries", None)
