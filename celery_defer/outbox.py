"""The way out: what a run has deferred is staged, published, settled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any
from uuid import uuid4

from billiard.exceptions import SoftTimeLimitExceeded
from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend

from celery_defer import links, notice, record
from celery_defer.boarding import Boarding, connection_of, open_gate
from celery_defer.delivery import Delivery, deliver, run_inline
from celery_defer.ids import run_id
from celery_defer.model import Call, CallState, Outcome, Record
from celery_defer.scope import Scope, Staged
from celery_defer.store import Store

__all__ = [
    "await_arrival",
    "conclude",
    "forget",
    "has_succeeded",
    "link_again",
    "publish",
    "publish_now",
    "publish_surely",
    "stage",
]

logger = logging.getLogger(__name__)

_DAY = 86_400.0


# -- after the body, before Celery stores the result ------------------------------------


def stage(parent: Scope, outcome: Outcome, answer: object = None) -> None:
    """Keep what the run has deferred where a crash does not reach it, and link it meanwhile.

    Celery stores the result next: so a stored SUCCESS means that the record is there. Nothing
    that fails here may change what the body has achieved, so it is logged; but a soft time
    limit is raised wherever the run is, and ends it as it would without us.
    """
    wait = _begin(parent, outcome)
    try:
        if outcome is Outcome.SUCCESS:
            _link_safely(parent, answer)
    finally:  # the reply has a connection, which another run would wait for
        if wait is not None:
            _wait_safely(parent, wait)


def _begin(parent: Scope, outcome: Outcome) -> Callable[[], None] | None:
    if parent.store is None or parent.is_eager:
        return None
    verdict = None if _keeps_result(parent) else outcome
    parent.staged = kept = Staged(parent.run.id, uuid4().hex, _record(parent, verdict))
    try:
        if _may_board(kept.record) and _boards(parent, kept):
            return None
        return _stage(parent, kept, due=_after_grace(parent, kept))
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        _log_unstaged(parent)
        return None


def _may_board(kept: Record) -> bool:
    """Whether nothing is lost if the record is not there before the result.

    Celery may store a failure for a process that it has lost in between; what waits for that
    is to be known then.
    """
    return kept.verdict is None and all(call.options.when == "success" for call in kept.calls)


def _boards(parent: Scope, kept: Staged) -> bool:
    """Whether the record goes with the result, which Celery stores in the same Redis next."""
    backend = parent.task.backend
    connection = connection_of(backend)
    if connection is None or parent.store is None:
        return False
    body, due, keep = record.pack(kept.record), _after_grace(parent, kept), _keeps(parent)
    put = parent.store.stage_in(connection, kept.id, kept.token, body, due=due, keep=keep)
    if put is None:
        return False
    open_gate(backend)
    parent.boarding = Boarding(put)
    return True


def _wait_safely(parent: Scope, wait: Callable[[], None]) -> None:
    try:
        wait()
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        _log_unstaged(parent)


def _log_unstaged(parent: Scope) -> None:
    parent.staged = None
    logger.exception(
        "run %s (%s): the store is away, so what the run deferred is published from memory; "
        "a crash of this worker now would lose it",
        parent.run.id,
        parent.run.task,
    )


def _link_safely(parent: Scope, answer: object) -> None:
    try:
        if not links.will_be_stored(parent, answer):
            return
        starting = [c for c in parent.buffered() if Outcome.SUCCESS.starts(c.options.when)]
        links.link(parent, starting[: links.MAX_LINKS])
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        logger.exception("run %s (%s): its links are not stored", parent.run.id, parent.run.task)


def link_again(parent: Scope, calls: Iterable[Call]) -> None:
    """Link what was published at once in earlier turns of the run."""
    try:
        links.link_again(parent, [call for call in calls if call.state is CallState.PUBLISHED])
    except Exception:
        logger.exception("run %s (%s): its links are not stored", parent.run.id, parent.run.task)


def has_succeeded(parent: Scope) -> bool:
    """Whether a SUCCESS of the run is stored."""
    try:
        return _keeps_result(parent) and parent.task.AsyncResult(parent.run.id).successful()
    except Exception:  # the result backend is away
        logger.exception("the result of run %s cannot be read", parent.run.id)
        return False


def forget(parent: Scope) -> None:
    """Remove the record of an earlier attempt, which a crash has left."""
    if parent.store is None or parent.is_eager:
        return
    try:
        parent.store.settle(parent.run.id, None)
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        logger.exception("run %s: the record of an earlier attempt stays", parent.run.id)


# -- after Celery has stored the result -------------------------------------------------


def publish(parent: Scope, outcome: Outcome) -> None:
    """Publish what waits for *outcome*, the end of the parent's run, and settle its record."""
    _stay_behind(parent)
    kept = parent.staged or Staged(parent.run.id, uuid4().hex, _record(parent, outcome))
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
    alone = replace(_record(parent, Outcome.SUCCESS), calls=(call,))
    kept = Staged(run_id(parent.run.id, call.id), uuid4().hex, alone)
    links.link(parent, [call])
    if parent.is_eager:
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
        return CallState.PUBLISHED
    if done.unsent and _is_staged_alone(parent, kept):
        return CallState.STAGED
    _log_lost(parent, done)
    return CallState.LOST


def publish_surely(parent: Scope, call: Call) -> None:
    """Publish one call at once; stage it first, so that a crash in between does not lose it."""
    assert parent.store is not None  # noqa: S101
    store, pause, keep = parent.store, parent.settings.grace, parent.settings.outbox_keeps
    alone = replace(_record(parent, Outcome.SUCCESS), calls=(call,))
    kept = Staged(run_id(parent.run.id, call.id), uuid4().hex, alone)
    links.link(parent, [call])
    _stage(parent, kept, due=kept.record.at + pause)()
    done = deliver(parent.app, alone, Outcome.SUCCESS, kept.token, is_durable=True)
    conclude(store, kept, Outcome.SUCCESS, done, now=kept.record.at, pause=pause, keep=keep)


def _is_staged_alone(parent: Scope, kept: Staged) -> bool:
    if parent.store is None:
        return False
    try:
        _stage(parent, kept, due=kept.record.at)()
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        logger.exception("run %s: the store is away too", parent.run.id)
        return False
    return True


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


def _put_apart(store: Store, kept: Staged, done: Delivery, keep: float) -> None:
    """Quarantine the refused calls in a record of their own, so that the rest is free of them."""
    alone = replace(kept.record, calls=done.refused)
    id = run_id(kept.record.parent, done.refused[0].id)
    store.stage(id, kept.token, record.pack(alone), 0, keep)()
    store.quarantine(id, kept.token, done.reason, keep)


# -- private ------------------------------------------------------------------------------


def _record(parent: Scope, verdict: Outcome | None) -> Record:
    return Record(
        parent=parent.run.id,
        root=parent.run.root_id,
        task=parent.run.task,
        depth=parent.run.depth,
        verdict=verdict,
        at=parent.now(),
        inherited=_inherited(parent),
        calls=tuple(parent.buffered()),
    )


def _keeps_result(parent: Scope) -> bool:
    """Whether another process can read how the parent ended."""
    ignored = parent.request.get("ignore_result")
    if parent.task.ignore_result if ignored is None else ignored:
        return False
    return not isinstance(parent.task.backend, DisabledBackend | RPCBackend)


def _inherited(parent: Scope) -> dict[str, Any]:
    """What Celery hands down from a run to the tasks that it sends."""
    inherited: dict[str, Any] = {}
    priority = (parent.request.get("delivery_info") or {}).get("priority")
    if parent.app.conf.task_inherit_parent_priority and priority is not None:
        inherited["priority"] = priority
    if stamped := parent.request.get("stamped_headers"):
        stamps = parent.request.get("stamps") or {}
        inherited.update({name: stamps.get(name) for name in stamped}, stamped_headers=stamped)
    return inherited


def _stage(parent: Scope, kept: Staged, due: float) -> Callable[[], None]:
    assert parent.store is not None  # noqa: S101
    body = record.pack(kept.record)
    return parent.store.stage(kept.id, kept.token, body, due, _keeps(parent))


def _keeps(parent: Scope) -> float:
    # Longer than the relay waits, so that it is the relay that gives up, and says so.
    return parent.settings.outbox_keeps + _DAY


def _after_grace(parent: Scope, kept: Staged) -> float:
    return kept.record.at + parent.settings.grace


def _stay_behind(parent: Scope) -> None:
    """Stage a record for which no result was stored: Celery keeps a SUCCESS that is there."""
    boarding, parent.boarding = parent.boarding, None
    if boarding is None or boarding.has_gone or parent.staged is None:
        return
    try:
        _stage(parent, parent.staged, _after_grace(parent, parent.staged))()
    except Exception:
        _log_unstaged(parent)


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
