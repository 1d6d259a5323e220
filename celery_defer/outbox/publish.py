"""The general way out: what a run has deferred is published, and its record settled."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace

from celery_defer import broker, guard, subject
from celery_defer.broker import Delivery
from celery_defer.current import extension_of
from celery_defer.ids import RunId, run_id
from celery_defer.model import Call, Outcome
from celery_defer.outbox import history, record_history, records, stage
from celery_defer.outbox.commit import Commit, State
from celery_defer.outbox.gather import gather
from celery_defer.outbox.inline import run_inline
from celery_defer.outbox.messages import messages_of, starting, unknown_calls
from celery_defer.outbox.records import DeferredCalls
from celery_defer.outbox.unpublished import report_dropped, report_refused
from celery_defer.outbox.wake import patience
from celery_defer.run import Scope, report_without_run, signals
from celery_defer.store import Fact, Leased, Store
from celery_defer.text import shortened

logger = guard.logger(__name__)

# How much is told of calls that cannot be published, in characters.
_LONGEST = 2_000


def publish(parent: Scope, outcome: Outcome) -> tuple[Call, ...]:
    """Publish the calls that wait for *outcome*, unless that is done; return what is lost."""
    lost: tuple[Call, ...] = ()
    if outcome is Outcome.FAILURE and not parent.is_eager and stage.has_succeeded(parent):
        return lost  # another attempt has succeeded; a relay publishes its calls if need be
    pending: Commit | None = parent.ending.commit
    if pending is None and parent.buffer.waiting():  # what prevented the commit is logged
        pending = Commit(parent, stage.record_of(parent, outcome), [])
        pending.stage()
    if pending is not None and pending.record.calls:
        if parent.is_eager:
            run_inline(parent, pending.record, outcome)
        elif pending.state in (State.WAITING, State.WITH_RESULT):
            lost = _deliver_and_settle(parent, pending, outcome)
    if pending is not None:
        _settle_others(parent, pending)
    if pending is None or pending.state is not State.SUPERSEDED:
        report_without_run(parent)
        _tell(parent)
    return lost


def deliver(
    app: object,
    record: DeferredCalls,
    outcome: Outcome,
    token: str,
    *,
    is_durable: bool = False,
    is_relayed: bool = False,
    gathers: bool = True,
) -> Delivery:
    """Publish the calls of a record that wait for *outcome*.

    Where their functions have a batch they are gathered; else, or without *gathers*, each has a
    message.
    """
    in_batches, rest = Delivery(), record
    if gathers:
        in_batches, rest = gather(app, record, outcome, is_durable=is_durable)
    messages = messages_of(app, rest, outcome, token)
    delivery = in_batches.then(broker.send(app, messages, is_durable=is_durable))
    sent = _calls(record, delivery.sent)
    signals.send_published(record.parent, record.task, sent, is_relayed=is_relayed)
    return replace(delivery, unknown=unknown_calls(app, record, outcome))


def conclude(
    app: object,
    store: Store,
    lease: Leased,
    record: DeferredCalls,
    *,
    outcome: Outcome,
    delivery: Delivery,
    now: float,
    pause: float,
    keep: float,
) -> None:
    """Settle the record; or keep in it the calls that could not be published, for *pause* seconds.

    It then has the parent's outcome too, whose result may expire before the broker is back. The
    record of an invoked run stays until that starts, in case its message is lost.
    """
    rest = _calls(record, delivery.unsent | delivery.unknown)
    refused = _calls(record, delivery.refused.keys())
    reason = refusal(record, delivery.refused)
    facts = record_history.concluded(
        extension_of(app).settings, record, outcome, now,
        gone=delivery.sent - delivery.gathered, refused=delivery.refused, dropped=delivery.dropped,
    )  # fmt: skip
    if refused:
        report_refused(app, record, refused, reason)
    if delivery.dropped:
        report_dropped(app, record, delivery.dropped)
    if rest and refused:
        _put_apart(store, lease, replace(record, verdict=outcome, calls=refused), reason, keep)
    if rest:
        at = lease.left if record.unknown_at is None else record.unknown_at
        unknown_at = at if delivery.unknown and math.isfinite(at) else None
        judged = replace(record, verdict=outcome, calls=rest, unknown_at=unknown_at)
        store.postpone(lease.id, lease.token, now + pause, records.pack(judged), facts=facts)
    elif refused:  # its parent's result may have expired when it is tried again
        judged = replace(record, verdict=outcome, calls=refused)
        store.postpone(lease.id, lease.token, now + pause, records.pack(judged))
        store.quarantine(lease.id, lease.token, reason, keep, facts=facts)
    elif delivery.sent and record.invocation:
        store.postpone(lease.id, lease.token, now + patience(lease.tries), facts=facts)
    else:
        store.settle(lease.id, lease.token, facts=facts)


def refusal(record: DeferredCalls, refused: Mapping[RunId, str]) -> str:
    """Return a text about calls that cannot be published, and why; each reason is told once."""
    calls: dict[str, list[Call]] = {}
    for call in _calls(record, refused.keys()):
        calls.setdefault(refused[run_id(record.parent, call.id)], []).append(call)
    parts = (f"{named(those)}: {reason}" for reason, those in calls.items())
    return shortened(f"cannot be published: {'; '.join(parts)}", _LONGEST)


def named(calls: Iterable[Call]) -> str:
    """Return the ids of calls, each with its task."""
    return ", ".join(f"{call.id!r} ({call.task})" for call in calls)


def log_lost(parent: Scope, record: DeferredCalls) -> None:
    """Log the calls that could not be published, and are stored nowhere."""
    for call in record.calls:
        id = run_id(parent.run.id, call.id)
        logger.error(
            "defer %r of run %s (%s) is lost: %s could not be published as %s",
            call.id,
            parent.run.id,
            parent.run.task,
            call.task,
            id,
            extra=subject.of(id, parent.run.id, call.id),
        )
    report_refused(parent.app, record, record.calls, "it is lost")


# -- private ------------------------------------------------------------------------------


def _calls(record: DeferredCalls, ids: Set[RunId]) -> tuple[Call, ...]:
    return tuple(call for call in record.calls if run_id(record.parent, call.id) in ids)


def _deliver_and_settle(parent: Scope, pending: Commit, outcome: Outcome) -> tuple[Call, ...]:
    """Publish the calls, and settle their record; return those that are in neither place."""
    id, store, record, lease = parent.run.id, parent.store, pending.record, pending.lease
    if outcome is Outcome.FAILURE and pending.state is State.WITH_RESULT:
        return ()  # the result could not be stored, so no message was sent with it
    if pending.state is State.WITH_RESULT:
        pending.stage()  # there was no result to send the messages with
        lease = pending.lease
    token = lease.token if lease else stage.lease_of(id, record).token
    delivery = deliver(parent.app, record, outcome, token, is_durable=lease is not None)
    if lease is None or store is None:
        lost = _calls(record, _failed(delivery))
        log_lost(parent, replace(record, calls=lost))
        report_dropped(parent.app, record, delivery.dropped)
        return lost
    if delivery.unsent:
        logger.warning("run %s: %d calls wait in the outbox", id, len(delivery.unsent))
    # If this fails, a relay publishes again; runs that have started do not start again.
    with guard.logged(logger, "run %s: its record cannot be settled", id):
        pause, keep = parent.settings.grace, parent.settings.outbox_keeps
        conclude(
            parent.app, store, lease, record,
            outcome=outcome, delivery=delivery, now=parent.now(), pause=pause, keep=keep,
        )  # fmt: skip
    return ()


def _settle_others(parent: Scope, pending: Commit) -> None:
    """Remove what counts no more, now that it is known which attempt has succeeded."""
    lease, id = pending.lease, parent.record_id
    if parent.store is None:
        return
    with guard.logged(logger, "run %s: the record of another attempt stays", id):
        if pending.state is State.SUPERSEDED and lease is not None:
            parent.store.settle(lease.id, lease.token)
        elif pending.has_won and parent.came_again and (lease is None or lease.id != id):
            parent.store.settle(id, None)


def _tell(parent: Scope) -> None:
    """Write into the histories what nothing else says, unless that went with the result.

    That is what was skipped or aborted, the end of a run that keeps no result, and what experiments
    count. It takes a round trip; so does each such call to the result backend.
    """
    if parent.is_eager or parent.ending.is_told or parent.store is None:
        return
    if facts := _untold(parent):
        with guard.logged(logger, "run %s: its record lacks its end", parent.run.id):
            parent.store.note(facts)


def _untold(parent: Scope) -> list[Fact]:
    pending: Commit | None = parent.ending.commit
    if parent.experiments and pending is not None and pending.state is State.COMMITTED:
        # The calls have left with a result that another Redis has than the store.
        calls = starting(pending.record, Outcome.SUCCESS)
        return history.committed(parent, calls, are_published=True)
    return history.without_run(parent) or history.without_result(parent)


def _failed(delivery: Delivery) -> frozenset[RunId]:
    return delivery.unknown | delivery.unsent | delivery.refused.keys()


def _put_apart(
    store: Store, lease: Leased, record: DeferredCalls, reason: str, keep: float
) -> None:
    """Quarantine refused calls in a record of their own, apart from the rest."""
    id = run_id(record.parent, record.calls[0].id)
    store.stage(id, lease.token, records.pack(record), 0, keep)
    store.quarantine(id, lease.token, reason, keep)
