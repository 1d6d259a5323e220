"""What any process may do to a record of the outbox: make it due, try it again, or drop it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery_defer.app.control import extension_and_store, replying, run_id_of
from celery_defer.errors import RecordError
from celery_defer.ids import RunId
from celery_defer.outbox import drop_record, retry_record


def retry(record_id: str, *, app: Any = None) -> bool:
    """Let a relay look at a record of the outbox now; return False if there is none.

    What a relay does is up to it: it publishes calls whose parent has ended. Raises RecordError for
    a run that waits, which ``wake`` is for; IdError for a bad id, and StoreError if the app has no
    Redis, or it does not reply.
    """
    id = run_id_of(record_id)
    extension, store = extension_and_store(app)
    with replying(f"record {id} is perhaps not due"):
        if store.recall(id, None, 1.0).is_parked:
            raise RecordError(f"run {id} waits: to end its wait, wake it")
        return store.hasten(id, extension.clock())


def retry_quarantined(record_id: str, *, app: Any = None) -> None:
    """Put a record from quarantine back into the outbox, due now.

    Calls whose runs have started are left out. A parked run, which has failed as its record was put
    into quarantine, goes on where it waited. Raises RecordError if there is no such record, or it
    cannot be tried again; RestartError if its run is in progress; IdError for a bad id, and
    StoreError if the app has no Redis, or it does not reply.
    """
    id = run_id_of(record_id)
    extension, _ = extension_and_store(app)
    with replying(f"record {id} is perhaps still in quarantine"):
        retry_record(extension, id)


def drop_quarantined(record_id: str, *, app: Any = None) -> Sequence[RunId]:
    """Remove a record from quarantine for good; return the ids of the runs that fail with it.

    A run of its calls that has no state ends as FAILURE, so that nobody waits for it. Raises
    RecordError if there is no such record; IdError for a bad id, and StoreError if the app has no
    Redis, or it does not reply.
    """
    id = run_id_of(record_id)
    extension, _ = extension_and_store(app)
    with replying(f"record {id} is perhaps still in quarantine"):
        return drop_record(extension, id)
