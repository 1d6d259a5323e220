"""How a parked run ends that takes no further turn: it was cancelled, or its record is lost.

Its chord and its callbacks hear of it, as from Celery's worker.
"""

from __future__ import annotations

from typing import Any

from celery.app.task import Context
from celery.backends.base import DisabledBackend

from celery_defer import guard, subject
from celery_defer.current import extension_of
from celery_defer.errors import RecordError
from celery_defer.flow import Drop, Reason
from celery_defer.ids import RunId
from celery_defer.model import HELD, REPLACED, WAITING
from celery_defer.outbox import history, records
from celery_defer.outbox.members import report_members_elsewhere
from celery_defer.outbox.parked import ParkedRun
from celery_defer.outbox.places import give_back_all
from celery_defer.outbox.wake import LEASE, wake
from celery_defer.run import (
    DeferHeader,
    Scope,
    report_dropped,
    report_failed,
    report_revoked,
    signals,
    why_dropped,
)
from celery_defer.store import Leased, RunState, Store, replacing

logger = guard.logger(__name__)

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


def end_cancelled(app: Any, store: Store, id: RunId, body: bytes, keep: float) -> tuple[str, str]:
    """Report a run that was cancelled as REVOKED, by what is left of its record.

    Return its task, and why it was cancelled; nothing if a person has done it. One that a debounce
    has replaced is reported as REPLACED.
    """
    recalled = store.recall(id, None, keep)
    run = _read(id, body) or _read(id, recalled.ending) or _unknown(store, id)
    why = recalled.why
    if by := replacing(why):
        _report_replaced(app, store, run, by)
        return run.task, why
    report_revoked(app, _backend(app, run), _request(run), why, stores=_stores(run))
    report_members_elsewhere(app.tasks.get(run.task), run.args, run.kwargs)
    signals.send_revoked(id, run.task, run.options, run.headers, why)
    return run.task, why


def end_replaced(app: Any, store: Store, id: RunId, body: bytes) -> None:
    """End a run in whose place another one runs, by what is left of its record."""
    settings = extension_of(app).settings
    task, why = end_cancelled(app, store, id, body, settings.run_keeps)
    store.settle(id, None, facts=history.cancelled(settings, store, id, task, why))
    give_back_all(app, store, id, task)


def end_early(run: Scope, why: str, *, is_revoked: bool = False) -> None:
    """Report a run as REVOKED that is in this process, and was cancelled by an event, say.

    With *is_revoked*, Celery was asked to revoke it, too.
    """
    about = subject.of_run(run.run)
    with guard.logged(logger, "run %s: its result lacks its end", run.run.id, about=about):
        report_revoked(run.app, run.task.backend, run.context, why, stores=not run.ignores_result)
        report_members_elsewhere(run.task, run.context.args, run.context.kwargs)
    if run.store is not None:
        with guard.logged(logger, "run %s: its record lacks its end", run.run.id, about=about):
            run.store.note(
                history.cancelled(
                    run.settings, run.store, run.run.id, run.task.name, why, is_revoked=is_revoked
                )
            )
    signals.send_aborted(run, why=why)


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
    report_members_elsewhere(app.tasks.get(run.task), run.args, run.kwargs, error)
    settings = extension_of(app).settings
    facts = history.ended(settings, id, run.task, RunState.QUARANTINED)
    store.quarantine(id, lease.token, reason, keep, facts=facts)
    store.resume(id, recalled.turn, _LOST, keep)
    give_back_all(app, store, id, run.task)
    return True


def is_waiting(app: Any, id: str) -> bool:
    """Whether the stored state of a run is that it is parked."""
    return not isinstance(app.backend, DisabledBackend) and app.AsyncResult(id).state in (
        WAITING,
        HELD,
    )


def _report_replaced(app: Any, store: Store, run: ParkedRun, by: RunId) -> None:
    """Report a run as REPLACED: in its result, to its chord, and to the run that invoked it."""
    settings, now = extension_of(app).settings, extension_of(app).clock()
    reason = why_dropped(settings, Drop(Reason.REPLACED, "debounce", by=by))
    request = _request(run)
    report_dropped(app, _backend(app, run), request, REPLACED, reason, stores=_stores(run))
    signals.send_replaced(run.id, run.task, reason, by)
    header = DeferHeader.of(vars(request))
    if header and header.step and request.parent_id:
        lease = store.arrive(RunId(request.parent_id), header.step, now, now + LEASE)
        if lease is not None:
            wake(app, store, [lease])


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
