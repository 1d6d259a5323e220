"""Calls that leave before their run has ended: those with ``when="now"``, and invocations."""

from __future__ import annotations

from dataclasses import replace

from celery_defer import guard
from celery_defer.broker import Delivery
from celery_defer.ids import run_id
from celery_defer.model import Call, CallState, Outcome
from celery_defer.outbox import history, stage
from celery_defer.outbox.inline import run_inline
from celery_defer.outbox.links import link
from celery_defer.outbox.publish import conclude, deliver, log_lost
from celery_defer.outbox.records import DeferredCalls
from celery_defer.outbox.unpublished import report_dropped
from celery_defer.run import Scope
from celery_defer.store import Leased

logger = guard.logger(__name__)


def publish_now(parent: Scope, call: Call) -> CallState:
    """Publish one call at once, however its parent ends; return the call's new state."""
    record = replace(stage.record_of(parent, Outcome.SUCCESS), calls=(call,))
    lease = stage.lease_of(run_id(parent.run.id, call.id), record)
    if parent.is_eager:
        link(parent, [call])
        run_inline(parent, record, Outcome.SUCCESS)
        return CallState.PUBLISHED
    delivery = Delivery(unsent=frozenset({lease.id}))
    with guard.logged(
        logger, "run %s (%s): its calls are not published", parent.run.id, parent.run.task
    ):
        delivery = deliver(parent.app, record, Outcome.SUCCESS, lease.token)
    if delivery.dropped:
        report_dropped(parent.app, record, delivery.dropped)
        return CallState.SKIPPED
    if delivery.is_complete:
        link(parent, [call])
        _note(parent, call)
        return CallState.PUBLISHED
    if delivery.unsent and _is_staged(parent, lease, record):
        link(parent, [call])
        return CallState.STAGED
    log_lost(parent, record)
    return CallState.LOST


def publish_durably(parent: Scope, call: Call) -> None:
    """Stage one call and publish it at once, so that neither a crash nor its queue loses it.

    The record stays until a worker has received the message. If there is one of the run already,
    as after a crash of its parent, that stays.
    """
    assert parent.store is not None  # noqa: S101
    pause, keep = parent.settings.grace, parent.settings.outbox_keeps
    record = replace(stage.record_of(parent, Outcome.SUCCESS), calls=(call,))
    lease = stage.lease_of(run_id(parent.run.id, call.id), record)
    link(parent, [call])
    if not stage.stage(parent, lease, record, due=record.at + pause, replaces=False):
        return
    delivery = deliver(parent.app, record, Outcome.SUCCESS, lease.token, is_durable=True)
    conclude(
        parent.app, parent.store, lease, record,
        outcome=Outcome.SUCCESS, delivery=delivery, now=record.at, pause=pause, keep=keep,
    )  # fmt: skip


# -- private ------------------------------------------------------------------------------


def _note(parent: Scope, call: Call) -> None:
    """Note a call that has left at once, so that experiments count its run as open."""
    facts = history.published_now(parent, call)
    if facts and parent.store is not None:
        with guard.logged(logger, "run %s: a call is not in its record", parent.run.id):
            parent.store.note(facts)


def _is_staged(parent: Scope, lease: Leased, record: DeferredCalls) -> bool:
    if parent.store is None:
        return False
    with guard.logged(logger, "run %s: the store is away too", parent.run.id):
        return stage.stage(parent, lease, record, due=record.at)
    return False
