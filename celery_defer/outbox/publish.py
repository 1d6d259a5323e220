"""The way out: what a run has deferred is published, and its record settled."""

from __future__ import annotations

import logging
from dataclasses import replace
from uuid import uuid4

from billiard.exceptions import SoftTimeLimitExceeded

from celery_defer.ids import run_id
from celery_defer.model import Call, CallState, Outcome
from celery_defer.outbox import links
from celery_defer.outbox import records as record
from celery_defer.outbox import stage as staging
from celery_defer.outbox.messages import Delivery, deliver, run_inline
from celery_defer.run import notice
from celery_defer.run.scope import Scope, Staged
from celery_defer.store import Store

__all__ = ["await_arrival", "conclude", "publish", "publish_now", "publish_surely"]

logger = logging.getLogger(__name__)


def publish(parent: Scope, outcome: Outcome) -> None:
    """Publish what waits for *outcome*, the end of the parent's run, and settle its record."""
    staging.stay_behind(parent)
    kept = parent.staged or Staged(parent.run.id, uuid4().hex, staging.record_of(parent, outcome))
    if parent.is_eager:
        run_inline(parent.app, kept.record, outcome)
    else:
        _deliver_and_settle(parent, kept, outcome)
    notice.tell(parent)


def await_arrival(parent: Scope) -> None:
    """Wait for what ``publish`` has sent; without a reply the record is there for the relay."""
    if parent.arrival is None:
        return
    try:
        parent.arrival()
    except Exception as error:
        logger.error("the broker is away: %r", error)


def publish_now(parent: Scope, call: Call) -> CallState:
    """Publish one call at once, whatever becomes of its parent; answer what it is now."""
    alone = replace(staging.record_of(parent, Outcome.SUCCESS), calls=(call,))
    kept = Staged(run_id(parent.run.id, call.id), uuid4().hex, alone)
    if parent.is_eager:
        links.link(parent, [call])
        run_inline(parent.app, alone, Outcome.SUCCESS)
        return CallState.PUBLISHED
    try:
        done = deliver(parent.app, alone, Outcome.SUCCESS, kept.token)
    except SoftTimeLimitExceeded:
        raise
    except Exception:  # the body that defers must not fail by it
        logger.exception("run %s (%s): its calls are not published", parent.run.id, parent.run.task)
        done = Delivery(unsent=(call,))
    if not (done.unsent or done.unknown or done.refused):
        links.link(parent, [call])
        return CallState.PUBLISHED
    if done.unsent and _is_staged_alone(parent, kept):
        links.link(parent, [call])
        return CallState.STAGED
    _log_lost(parent, done)
    return CallState.LOST


def publish_surely(parent: Scope, call: Call) -> None:
    """Publish one call at once; stage it first, so that a crash in between does not lose it."""
    assert parent.store is not None  # noqa: S101
    store, pause, keep = parent.store, parent.settings.grace, parent.settings.outbox_keeps
    alone = replace(staging.record_of(parent, Outcome.SUCCESS), calls=(call,))
    kept = Staged(run_id(parent.run.id, call.id), uuid4().hex, alone)
    links.link(parent, [call])
    staging.send(parent, kept, due=kept.record.at + pause)()
    done = deliver(parent.app, alone, Outcome.SUCCESS, kept.token, is_durable=True)
    conclude(store, kept, Outcome.SUCCESS, done, now=kept.record.at, pause=pause, keep=keep)


def conclude(
    store: Store,
    kept: Staged,
    outcome: Outcome,
    done: Delivery,
    *,
    now: float,
    pause: float,
    keep: float,
) -> None:
    """Leave in the outbox what could not go, to be looked at after a *pause*; or settle.

    The parent's end stays with the rest, for its result may expire before the broker is back.
    """
    rest = (*done.unsent, *done.unknown)
    if rest and done.refused:
        _put_apart(store, kept, done, keep)
    if rest:
        since = (kept.record.unknown_since or now) if done.unknown else None
        judged = replace(kept.record, verdict=outcome, calls=rest, unknown_since=since)
        store.postpone(kept.id, kept.token, now + pause, record.pack(judged))
    elif done.refused:
        store.quarantine(kept.id, kept.token, done.reason, keep)
    elif done.arrival is None:
        store.settle(kept.id, kept.token)


# -- private ------------------------------------------------------------------------------


def _is_staged_alone(parent: Scope, kept: Staged) -> bool:
    if parent.store is None:
        return False
    try:
        staging.send(parent, kept, due=kept.record.at)()
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        logger.exception("run %s: the store is away too", parent.run.id)
        return False
    return True


def _put_apart(store: Store, kept: Staged, done: Delivery, keep: float) -> None:
    """Quarantine the refused calls in a record of their own, so that the rest is free of them."""
    alone = replace(kept.record, calls=done.refused)
    id = run_id(kept.record.parent, done.refused[0].id)
    store.stage(id, kept.token, record.pack(alone), 0, keep)()
    store.quarantine(id, kept.token, done.reason, keep)


def _deliver_and_settle(parent: Scope, kept: Staged, outcome: Outcome) -> None:
    id, store = parent.run.id, parent.store
    if store is None or parent.staged is None:
        _log_lost(parent, deliver(parent.app, kept.record, outcome, kept.token))
        return
    done = deliver(
        parent.app,
        kept.record,
        outcome,
        kept.token,
        is_durable=True,
        ride=lambda broker: store.settle_in(broker, id, kept.token),
    )
    if done.unsent:
        logger.warning("run %s: %d calls wait in the outbox", id, len(done.unsent))
    # Celery has some work left with the run; the reply comes meanwhile.
    parent.arrival = done.arrival
    try:
        pause, keep = parent.settings.grace, parent.settings.outbox_keeps
        conclude(store, kept, outcome, done, now=parent.now(), pause=pause, keep=keep)
    except Exception:  # the relay publishes once more; what has started does not start again
        logger.exception("run %s: its record cannot be settled", id)


def _log_lost(parent: Scope, done: Delivery) -> None:
    for call in (*done.refused, *done.unknown, *done.unsent):
        logger.error(
            "defer %r of run %s (%s) is lost: %s could not be published as %s",
            call.id,
            parent.run.id,
            parent.run.task,
            call.task,
            run_id(parent.run.id, call.id),
        )
