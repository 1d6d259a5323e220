"""Which calls may be published in one transaction with the result of their run."""

from __future__ import annotations

from celery_defer.outbox.gather import goes_in_batch
from celery_defer.outbox.records import DeferredCalls
from celery_defer.run import Scope, server_of_results

# Messages that go with a result delay it, so there is a limit.
_MOST_CALLS = 1_000
_MOST_BYTES = 256 * 1024


def may_go_with_result(run: Scope, record: DeferredCalls) -> bool:
    """Whether messages may go with the result, as far as its *record* shows."""
    if run.settings.commit != "result" or not run.keeps_result or run.is_eager:
        return False
    calls = record.calls
    if not calls or any(call.options.when != "success" for call in calls):
        return False
    if any(goes_in_batch(run.app, call) for call in calls):  # as no messages of their own
        return False
    if len(calls) > _MOST_CALLS or sum(len(call.payload) for call in calls) > _MOST_BYTES:
        return False
    return server_of_results(run.task.backend) is not None
