"""How a parked run ends that takes no further turn: it was cancelled, or its record is lost.

Its chord and its callbacks hear of it, as from Celery's worker.
"""

from __future__ import annotations

from typing import Any

from celery.app.task import Context
from celery.backends.base import DisabledBackend

from celery_defer.current import extension_of
from celery_defer.errors import RecordError
from celery_defer.ids import RunId
from celery_defer.model import WAITING
from celery_defer.outbox import history, records
from celery_defer.outbox.parked import ParkedRun
from celery_defer.run import report_failed, report_revoked, signals
from celery_defer.store import Leased, RunState, Store

# The owner of a turn that no wake-up may begin.
_LOST = "lost"
# Without one of these, nobody but its client hears of a run's end.
_LISTENERS = frozenset({"chord", "chain", "link_error"})
_TO_BE_KNOWN = _LISTENERS | {
    "group_id",
    "group_index",
    "root_id",
    "parent_id",
    "reply_to",
    "ignore_result",
}


def ending_of(run: ParkedRun) -> bytes:
    """Return what is to be known of a run if its record is lost; nothing for most runs."""
    options = {name: value for name, value in run.options.items() if name in _TO_BE_KNOWN}
    if not _LISTENERS & options.keys():
        return b""
    return records.pack(ParkedRun(run.id, run.task, run.turn, options=options))


def end_cancelled(app: Any, store: Store, id: RunId, body: bytes, keep: float) -> str:
    """Report a run that was cancelled as REVOKED, by what is left of its record.

    Return its task.
    """
    run = _read(id, body) or _read(id, store.recall(id, None, keep).ending) or _unknown(store, id)
    report_revoked(app, _backend(app, run), _request(run), stores=_stores(run))
    signals.send_revoked(id, run.task, run.options, run.headers)
    return run.task


def end_lost(app: Any, store: Store, lease: Leased, reason: str, keep: float) -> bool:
    """Report a run as FAILURE if it is parked, because its record is lost; return whether it was.

    What is left of the record is quarantined. A message that wakes the run all the same does not
    begin its turn.
    """
    id = lease.id
    recalled = store.recall(id, None, keep)
    # The store may have lost all that it had of the run.
    if not recalled.is_parked and (recalled.turn or not is_waiting(app, id)):
        return False
    run = _read(id, lease.body) or _read(id, recalled.ending) or _unknown(store, id)
    error = RecordError(f"run {id} was parked, and cannot go on: {reason}")
    report_failed(app, _backend(app, run), _request(run), error, stores=_stores(run))
    settings = extension_of(app).settings
    facts = history.ended(settings, id, run.task, RunState.QUARANTINED)
    store.quarantine(id, lease.token, reason, keep, facts=facts)
    store.resume(id, recalled.turn, _LOST, keep)
    return True


def is_waiting(app: Any, id: str) -> bool:
    """Whether the stored state of a run is that it is parked."""
    return not isinstance(app.backend, DisabledBackend) and app.AsyncResult(id).state == WAITING


def _read(id: RunId, body: bytes) -> ParkedRun | None:
    try:
        record = records.unpack(id, body)
    except RecordError:
        return None
    return record if isinstance(record, ParkedRun) else None


def _unknown(store: Store, id: RunId) -> ParkedRun:
    """Return a run that has lost its record; its history may say of which task it is."""
    return ParkedRun(id, history.task_of(store, id), 0)


def _backend(app: Any, run: ParkedRun) -> Any:
    task = app.tasks.get(run.task)
    return app.backend if task is None else task.backend


def _stores(run: ParkedRun) -> bool:
    return not run.options.get("ignore_result")


def _request(run: ParkedRun) -> Context:
    """Return the request of the run, as far as celery.backends.base.Backend.mark_as_* read it."""
    options = run.options
    return Context(
        id=run.id,
        task=run.task,
        args=run.args,
        kwargs=run.kwargs,
        headers=run.headers,
        hostname=run.hostname,
        chain=options.get("chain"),
        chord=options.get("chord"),
        group=options.get("group_id"),
        group_index=options.get("group_index"),
        errbacks=options.get("link_error"),
        root_id=options.get("root_id"),
        parent_id=options.get("parent_id"),
        reply_to=options.get("reply_to"),
        correlation_id=run.id,
        ignore_result=options.get("ignore_result"),
        delivery_info={},
    )
