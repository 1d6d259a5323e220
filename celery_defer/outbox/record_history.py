"""What the histories of calls are told as their record leaves the outbox, or goes to quarantine."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from celery_defer import guard
from celery_defer.ids import RunId, run_id
from celery_defer.model import Call, Outcome
from celery_defer.outbox import batch_history, records
from celery_defer.outbox.gathered import GatheredCalls
from celery_defer.outbox.records import DeferredCalls
from celery_defer.run import facts_of_calls
from celery_defer.settings import Settings
from celery_defer.store import Fact, Leased, RunState

#: The state in which a run has ended that had this outcome.
ENDS = {Outcome.SUCCESS: RunState.SUCCEEDED, Outcome.FAILURE: RunState.FAILED}


def concluded(
    settings: Settings,
    record: DeferredCalls,
    outcome: Outcome,
    now: float,
    *,
    gone: Collection[RunId] = (),
    refused: Collection[RunId] = (),
    dropped: Collection[RunId] = (),
) -> list[Fact]:
    """Return what is to be known of a run's end, and of the calls that have left the outbox.

    Those *refused* are in quarantine; the ``apply_async`` of their tasks has *dropped* others.
    Calls that did not wait for this *outcome* were never made.
    """
    if not settings.record:
        return []
    states = {
        **dict.fromkeys(gone, RunState.PUBLISHED),
        **dict.fromkeys(refused, RunState.QUARANTINED),
        **dict.fromkeys(dropped, RunState.SKIPPED),
    }
    facts = [] if record.invocation else [_end(settings, record, ENDS[outcome])]
    for call in record.calls:
        state = states.get(run_id(record.parent, call.id))
        if not outcome.starts(call.options.when):
            state = RunState.UNKNOWN
        if state is not None:
            facts += _of(settings, record, [call], state, now)
    return facts


def never_made(settings: Settings, lease: Leased) -> list[Fact]:
    """Return what forgets the calls of an attempt that does not count."""
    return _of_record(settings, lease, RunState.UNKNOWN)


def quarantined(settings: Settings, lease: Leased) -> list[Fact]:
    """Return what is to be known of calls whose record goes into quarantine."""
    return _of_record(settings, lease, RunState.QUARANTINED)


def released(settings: Settings, record: DeferredCalls) -> list[Fact]:
    """Return what is to be known of calls that are back from quarantine."""
    return _of(settings, record, record.calls, RunState.BUFFERED, record.at)


def given_up(settings: Settings, record: DeferredCalls, calls: Iterable[Call]) -> list[Fact]:
    """Return what is to be known of calls that were dropped from quarantine."""
    return _of(settings, record, calls, RunState.FAILED, record.at)


# -- private ------------------------------------------------------------------------------


def _of_record(settings: Settings, lease: Leased, state: RunState) -> list[Fact]:
    record = guard.attempt(lambda: records.unpack(lease.id, lease.body))
    if isinstance(record, GatheredCalls):
        last = max((call.at for call in record.calls), default=0.0)
        return batch_history.of_calls(settings, record, state, last)
    if not isinstance(record, DeferredCalls):
        return []
    return _of(settings, record, record.calls, state, record.at)


def _of(
    settings: Settings, record: DeferredCalls, calls: Iterable[Call], state: RunState, now: float
) -> list[Fact]:
    parent, root = record.parent, record.root
    return facts_of_calls(settings, calls, state, parent=parent, root=root, now=now)


def _end(settings: Settings, record: DeferredCalls, state: RunState) -> Fact:
    return Fact(record.parent, record.task, state, settings.result_expires)
