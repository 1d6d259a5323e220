"""How a deferred run is aborted, and a parked run cancelled."""

from __future__ import annotations

from typing import Any

from celery.app.task import Context
from celery.backends.base import DisabledBackend

from celery_defer import guard, subject
from celery_defer.current import extension_of
from celery_defer.ids import RunId, run_id
from celery_defer.model import CallState
from celery_defer.outbox import history
from celery_defer.outbox.end import end_cancelled, is_waiting
from celery_defer.outbox.gathered import withdrawal
from celery_defer.outbox.places import give_back_all
from celery_defer.run import WITHDRAWN, Scope, signals
from celery_defer.store import RunState, Store, is_in_batch

logger = guard.logger(__name__)

#: The owner of aborted runs; no publication has this token.
NOBODY = "aborted"
# Seconds after which a relay ends a cancelled run, if this process has not.
_LEASE = 10.0


def cancel_run(
    app: Any,
    store: Store,
    id: RunId,
    *,
    only_parked: bool = False,
    is_revoked: bool = False,
    why: str = "",
) -> bool:
    """Let no further step of a run begin; return whether it was parked, and so has ended.

    A run is parked until a worker has received its wake-up. If its end cannot be stored, or this
    process dies, a relay ends it. With *is_revoked*, Celery has revoked it, and its workers discard
    each further message of it. *why* is for people.
    """
    extension = extension_of(app)
    until, keep = extension.clock() + _LEASE, extension.settings.run_keeps
    body = store.cancel(id, keep, until, only_parked=only_parked, why=why)
    if body is None and (only_parked or not is_waiting(app, id)):
        return False
    task, why = end_cancelled(
        app, store, id, body or b"", keep
    )  # no body: the store has lost the run
    facts = (
        history.ended(extension.settings, id, task, RunState.ABORTED)
        if is_revoked
        else history.cancelled(extension.settings, store, id, task, why)
    )
    store.settle(id, None, facts=facts)
    give_back_all(app, store, id, task)
    return True


def abort_call(app: Any, store: Store, keep: float, parent_id: str, defer_id: str) -> bool:
    """Prevent that a deferred run starts, or end it if it is parked.

    Return False if it has started, or if its parent has ended without having made the call.
    """
    id = run_id(parent_id, defer_id)
    if has_ended(app, id):  # its claim may have expired
        return False
    known, parent = store.histories([id, RunId(parent_id)])
    if known is None and history.has_not_made(parent, defer_id):
        return False
    task, settings = history.task_in(known), extension_of(app).settings
    facts = history.ended(settings, id, task, RunState.ABORTED, told=WITHDRAWN)
    claim = store.claim(id, NOBODY, keep, facts=facts)
    if cancel_run(app, store, id, only_parked=True):  # perhaps its claim had expired
        return True
    is_withdrawn = claim.is_mine or (
        is_in_batch(claim.owner) and store.withdraw(id, NOBODY, withdrawal(id), keep, facts=facts)
    )
    if is_withdrawn:
        request = Context({"id": id, "parent_id": parent_id})
        result = {"defer_id": defer_id, "reason": None}
        app.backend.store_result(id, result, CallState.ABORTED.value, request=request)
        signals.send_aborted_call(parent_id, defer_id)
    return is_withdrawn


def has_ended(app: Any, id: str) -> bool:
    """Whether a run has a result, or will have no run."""
    return not isinstance(app.backend, DisabledBackend) and app.AsyncResult(id).ready()


def abort_from(parent: Scope, defer_id: str) -> bool:
    """Abort a call for a body in progress; log errors, which must not fail the body."""
    if parent.store is None:
        return False
    keep = parent.settings.outbox_keeps
    about = subject.of(run_id(parent.run.id, defer_id), parent.run.id, defer_id)
    with guard.logged(
        logger, "defer %r of run %s cannot be aborted", defer_id, parent.run.id, about=about
    ):
        return abort_call(parent.app, parent.store, keep, parent.run.id, defer_id)
    return False
