"""What a relay does with one record, by its plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from celery_defer import guard
from celery_defer.broker import Delivery
from celery_defer.current import extension_of
from celery_defer.outbox import history, record_history
from celery_defer.outbox.about import about
from celery_defer.outbox.end import end_cancelled, end_lost
from celery_defer.outbox.fanout import continue_fan_out
from celery_defer.outbox.gather import publish_batches
from celery_defer.outbox.gathered import GatheredCalls
from celery_defer.outbox.members import report_refused_batch
from celery_defer.outbox.places import give_back_all
from celery_defer.outbox.plan import (
    Action,
    ContinueFanOut,
    Drop,
    EndCancelled,
    EndLost,
    Postpone,
    Publish,
    PublishBatch,
    Quarantine,
    Refuse,
    Settle,
    pause,
)
from celery_defer.outbox.publish import conclude, deliver, refusal
from celery_defer.outbox.records import unpack
from celery_defer.outbox.unpublished import report_refused
from celery_defer.settings import Settings
from celery_defer.store import Leased, RunState, SentEvent, Store

logger = guard.logger(__name__)

#: Tries, in some six minutes, after which a message counts as impossible.
_MOST_TRIES = 10
#: Seconds after which no worker is expected to have the task.
_UNKNOWN_PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class Deeds:
    """Executes actions for records that are leased."""

    app: Any
    store: Store
    settings: Settings

    def do(self, lease: Leased, action: Action, now: float) -> bool:
        """Do what is planned; return False if the broker was away."""
        match action:
            case PublishBatch():
                return self._publish_batch(lease, now)
            case Publish():
                return self._publish(lease, action, now)
            case ContinueFanOut():
                self._continue(lease, action.event, now)
            case EndLost():
                self._end_lost(lease, action.reason)
            case EndCancelled():
                self._end_cancelled(lease)
            case Quarantine():
                self._quarantine(lease, action.reason)
            case Refuse():
                logger.error(
                    "invoked run %s does not start: %s",
                    lease.id,
                    action.reason,
                    extra=about(lease),
                )
                report_refused(self.app, action.record, action.record.calls, action.reason)
                self.store.settle(lease.id, lease.token)
            case Postpone():
                self.store.postpone(lease.id, lease.token, action.until)
            case Settle() | Drop():
                self._drop(lease, action)
        return True

    def _publish(self, lease: Leased, action: Publish, now: float) -> bool:
        record = action.record
        # Another token, because the worker may have published already.
        token = f"{lease.token}.{lease.tries}"
        delivery = deliver(
            self.app, record, action.outcome, token, is_durable=True, is_relayed=True
        )
        if delivery.sent:
            logger.info(
                "the relay has published what run %s deferred", record.parent, extra=about(lease)
            )
        unknown_at = record.unknown_at
        if unknown_at is not None and unknown_at - lease.left >= _UNKNOWN_PATIENCE:
            unknown = dict.fromkeys(delivery.unknown, "no worker has its task")
            refused = {**delivery.refused, **unknown}
            delivery = replace(delivery, unknown=frozenset(), refused=refused)
        if delivery.refused:
            why = refusal(record, delivery.refused)
            logger.error("what run %s deferred %s", record.parent, why, extra=about(lease))
        conclude(
            self.app, self.store, lease, record, outcome=action.outcome, delivery=delivery,
            now=now, pause=pause(lease.tries), keep=self.settings.outbox_keeps,
        )  # fmt: skip
        return not delivery.unsent

    def _publish_batch(self, lease: Leased, now: float) -> bool:
        delivery = publish_batches(self.app, self.store, [lease])
        self.put_off([lease], delivery, now)
        return not delivery.unsent

    def _continue(self, lease: Leased, event: SentEvent, now: float) -> None:
        if continue_fan_out(extension_of(self.app), event):
            self.store.settle(lease.id, lease.token)
        else:
            self.store.postpone(lease.id, lease.token, now)

    def leave(self, leases: Iterable[Leased], now: float) -> None:
        """Leave records to the next relay that looks, after a pause."""
        for lease in leases:
            self.store.postpone(lease.id, lease.token, now + pause(lease.tries))

    def _drop(self, lease: Leased, action: Settle | Drop) -> None:
        if isinstance(action, Drop):
            ids = about(lease)
            logger.warning(
                "what run %s deferred is dropped: %s", ids["run_id"], action.reason, extra=ids
            )
        facts = record_history.never_made(self.settings, lease)
        self.store.settle(lease.id, lease.token, facts=facts)

    def _end_cancelled(self, lease: Leased) -> None:
        keep = self.settings.run_keeps
        task, why = end_cancelled(self.app, self.store, lease.id, lease.body, keep)
        facts = (
            history.cancelled(self.settings, self.store, lease.id, task, why)
            if why
            else history.ended(self.settings, lease.id, task, RunState.ABORTED)
        )
        self.store.settle(lease.id, lease.token, facts=facts)
        give_back_all(self.app, self.store, lease.id, task)

    def _quarantine(self, lease: Leased, reason: str) -> None:
        keep, ids = self.settings.outbox_keeps, about(lease)
        if end_lost(self.app, self.store, lease, reason, keep):
            logger.error(
                "parked run %s is quarantined, and has failed: %s", lease.id, reason, extra=ids
            )
            return
        if isinstance(batch := guard.attempt(lambda: unpack(lease.id, lease.body)), GatheredCalls):
            report_refused_batch(self.app, batch, reason)
        logger.error("what run %s deferred is quarantined: %s", ids["run_id"], reason, extra=ids)
        facts = record_history.quarantined(self.settings, lease)
        self.store.quarantine(lease.id, lease.token, reason, keep, facts=facts)

    def _end_lost(self, lease: Leased, reason: str) -> None:
        logger.error(
            "the record of run %s has vanished from the store, and what it was to do",
            lease.id,
            extra=about(lease),
        )
        if end_lost(self.app, self.store, lease, reason, self.settings.outbox_keeps):
            logger.error("parked run %s has failed: %s", lease.id, reason, extra=about(lease))
        self.store.settle(lease.id, None)

    def put_off(self, leases: Sequence[Leased], delivery: Delivery, now: float) -> None:
        """Put off, or put apart, the records whose one message could not be published."""
        self.leave((lease for lease in leases if lease.id in delivery.unsent), now)
        for lease in leases:
            if lease.id in delivery.refused and lease.tries < _MOST_TRIES:
                self.leave([lease], now)  # a router may fail once
            elif lease.id in delivery.refused:
                reason = delivery.refused[lease.id]
                self._quarantine(lease, f"its message cannot be made: {reason}")
