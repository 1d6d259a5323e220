"""What a person decides about a record in quarantine: to try it again, or to drop it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from celery_defer.errors import RecordError
from celery_defer.ids import RunId, run_id
from celery_defer.outbox import batch_history, record_history, records
from celery_defer.outbox.gathered import GatheredCalls
from celery_defer.outbox.members import report_refused_batch
from celery_defer.outbox.parked import ParkedRun
from celery_defer.outbox.records import SPARE, DeferredCalls, Record
from celery_defer.outbox.restart import begin_again
from celery_defer.outbox.unpublished import has_started, store_refusal
from celery_defer.store import Fact, Quarantined, RunState


def retry_record(extension: Any, id: RunId) -> None:
    """Put a record from quarantine back into the outbox, due now.

    Calls whose runs have started are left out. A parked run has failed as its record was put into
    quarantine; it goes on where it waited. Raises RecordError for what cannot be tried again.
    """
    entry = _entry(extension, id)
    record = records.unpack(id, entry.body)
    if isinstance(record, ParkedRun):
        begin_again(extension, record, extension.store.turn(id))
        extension.store.discard(id)
        return
    record = _to_publish(extension.app, record)
    body = records.pack(record)
    token, keep = uuid4().hex, extension.settings.outbox_keeps + SPARE
    if not extension.store.release(id, token, body, extension.clock(), keep):
        raise RecordError(
            f"the outbox has a newer record of run {id}: try again when that one is published"
        )
    if isinstance(record, DeferredCalls):
        extension.store.note(record_history.released(extension.settings, record))
    if isinstance(record, GatheredCalls):
        extension.store.note(_facts(extension, record, RunState.BUFFERED))


def drop_record(extension: Any, id: RunId) -> Sequence[RunId]:
    """Remove a record from quarantine for good; return the ids of the runs that end so.

    The runs of its calls that have not started end as FAILURE, so that nobody waits for them.
    """
    record, app = _readable(_entry(extension, id)), extension.app
    if isinstance(record, GatheredCalls):
        report_refused_batch(app, record, "it was dropped from quarantine")
        extension.store.note(_facts(extension, record, RunState.FAILED))
        extension.store.discard(id)
        return [call.id for call in record.calls]
    if not isinstance(record, DeferredCalls):
        extension.store.discard(id)
        return []
    calls = [call for call in record.calls if not has_started(app, record, call)]
    for call in calls:
        store_refusal(app, record, call, "it was dropped from quarantine")
    extension.store.note(record_history.given_up(extension.settings, record, calls))
    extension.store.discard(id)
    return [run_id(record.parent, call.id) for call in calls]


def _entry(extension: Any, id: RunId) -> Quarantined:
    entries = {entry.id: entry for entry in extension.store.quarantined()}
    if id not in entries:
        raise RecordError(f"no record {id!r} is in quarantine")
    entry: Quarantined = entries[id]
    return entry


def _facts(extension: Any, batch: GatheredCalls, state: RunState) -> Sequence[Fact]:
    return batch_history.of_calls(extension.settings, batch, state, extension.clock())


def _readable(entry: Quarantined) -> Record | None:
    try:
        return records.unpack(entry.id, entry.body)
    except RecordError:  # nobody knows what was in it
        return None


def _to_publish(app: Any, record: Record) -> Record:
    if not isinstance(record, DeferredCalls):
        return record
    if record.invocation:
        raise RecordError(
            f"its call is of a step of run {record.parent}, which has failed with it: restart that "
            "run, and drop this"
        )
    calls = tuple(call for call in record.calls if not has_started(app, record, call))
    if not calls:
        raise RecordError("all its runs have started: drop it")
    return replace(record, calls=calls)
