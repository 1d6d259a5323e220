"""Which run a line about a record is about."""

from __future__ import annotations

from celery_defer import guard, subject
from celery_defer.model import about_message
from celery_defer.outbox import records
from celery_defer.outbox.parked import ParkedRun
from celery_defer.outbox.records import DeferredCalls
from celery_defer.store import Leased
from celery_defer.subject import Ids


def about(lease: Leased) -> Ids:
    """Return the ids of the run that a record belongs to, as far as it says them.

    The record of a run's calls does not say who has deferred that run.
    """
    match guard.attempt(lambda: records.unpack(lease.id, lease.body)):
        case ParkedRun() as run:
            return about_message(run.id, run.options.get("parent_id"), run.headers)
        case DeferredCalls() as record if call := record.invocation:
            return subject.of(lease.id, record.parent, call.step)
        case DeferredCalls() as record:
            return subject.of(record.parent)
    return subject.of(lease.id)
