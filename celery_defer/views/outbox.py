"""What is in the outbox and in quarantine, as rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from celery_defer import guard
from celery_defer.errors import StoreError
from celery_defer.ids import RunId
from celery_defer.outbox import DeferredCalls, GatheredCalls, ParkedRun, unpack
from celery_defer.outbox.records import FanOut
from celery_defer.run import extension_for
from celery_defer.views.history import reads
from celery_defer.views.rows import OutboxRow, Page, QuarantineRow


@reads
def outbox(*, app: Any = None, limit: int = 50) -> Page[OutboxRow]:
    """Return the records of the outbox that are due first, of which *limit* at most.

    Raises StoreError without a Redis that replies.

    >>> late = [row for row in outbox().rows if row.tries > 3]
    """
    extension = _extension(app)
    rows = []
    for record in extension.store.peek(limit):
        about = _about(record.id, record.body)
        due = datetime.fromtimestamp(record.due, timezone.utc)
        rows.append(OutboxRow(record.id, about.kind, about.task, due, record.tries, about.calls))
    return Page(rows)


@reads
def quarantine(*, app: Any = None) -> Page[QuarantineRow]:
    """Return the records that could not be read or published, each with the reason.

    Raises StoreError without a Redis that replies.

    >>> reasons = {row.id: row.reason for row in quarantine().rows}
    """
    rows = []
    for entry in _extension(app).store.quarantined():
        about = _about(entry.id, entry.body)
        rows.append(QuarantineRow(entry.id, about.kind, about.task, entry.reason, about.calls))
    return Page(rows)


@dataclass(frozen=True, slots=True)
class _About:
    """What a record is about."""

    kind: str = "unknown"
    task: str = ""
    calls: tuple[str, ...] = ()


def _extension(app: Any) -> Any:
    extension = extension_for(app)
    if extension.store is None:
        raise StoreError
    return extension


def _about(id: RunId, body: bytes) -> _About:
    match guard.attempt(lambda: unpack(id, body)):
        case ParkedRun() as run:
            return _About("parked run", run.task)
        case DeferredCalls() as record:
            calls = tuple(call.step or call.id for call in record.calls)
            return _About("calls", record.task, calls)
        case GatheredCalls() as batch:
            return _About("batch", batch.task, tuple(call.defer_id for call in batch.calls))
        case FanOut() as rest:
            return _About("event", rest.event.name)
    return _About()
