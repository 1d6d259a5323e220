"""The relay: executes the plan for records that were not settled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from typing import Any

from celery.states import SUCCESS

from celery_defer import guard
from celery_defer.broker import is_there
from celery_defer.current import extension_of
from celery_defer.outbox import history
from celery_defer.outbox.about import about
from celery_defer.outbox.end import end_cancelled, end_lost
from celery_defer.outbox.fanout import continue_fan_out
from celery_defer.outbox.outage import Outage
from celery_defer.outbox.plan import (
    SUPERSEDED,
    Action,
    ContinueFanOut,
    Drop,
    EndCancelled,
    EndLost,
    Postpone,
    Publish,
    Quarantine,
    Refuse,
    Settle,
    WakeRun,
    pause,
    plan,
)
from celery_defer.outbox.publish import conclude, deliver, refusal
from celery_defer.outbox.records import is_parked
from celery_defer.outbox.unpublished import report_refused
from celery_defer.outbox.wake import wake
from celery_defer.run import signals, winner_of
from celery_defer.settings import Settings
from celery_defer.store import Leased, RunState, SentEvent, Store
from celery_defer.text import text_of

logger = guard.logger(__name__)

#: How many records a tick leases, and for how many seconds.
LIMIT = 100
LEASE = 30.0
#: Tries, in some six minutes, after which a message counts as impossible.
_MOST_TRIES = 10
#: Seconds after which no worker is expected to have the task.
_UNKNOWN_PATIENCE = 300.0

_Planned = tuple[Leased, Action]


@dataclass(frozen=True, slots=True)
class Relay:
    """The relay of one worker; any number of relays may share an outbox."""

    app: Any
    store: Store
    settings: Settings
    #: Of the broker, which has no use for records then; and of the results.
    broker: Outage = field(default_factory=Outage)
    results: Outage = field(default_factory=Outage)

    def tick(self, now: float) -> int:
        """Lease the records that are due and do what ``plan`` says; return their number."""
        if not self._has_broker():
            return 0
        ends = monotonic() + LEASE
        due = self.store.take(now, now + LEASE, LIMIT)
        parked = {lease.id: self._plan(lease, now) for lease in due if is_parked(lease.body)}
        planned = [(lease, parked[lease.id]) for lease in due if lease.id in parked]
        self._wake([each for each in planned if isinstance(each[1], WakeRun)], now)
        rest = [lease for lease in due if not isinstance(parked.get(lease.id), WakeRun)]
        for position, lease in enumerate(rest):
            if monotonic() > ends:  # a service is slow, and others have the rest now
                break
            action = parked.get(lease.id) or self._plan(lease, now)
            if not self._try(lease, action, now) and not is_there(self.app):
                self.broker.begins()
                self._leave(rest[position + 1 :], now)
                break
        return len(due)

    def next_due(self) -> float | None:
        """Return when the next record is due."""
        return self.store.next_due()

    def _has_broker(self) -> bool:
        if self.broker.is_on and not is_there(self.app):
            self.broker.begins()
            return False
        if self.broker.ends():
            logger.warning("the broker is back")
        return True

    def _plan(self, lease: Leased, now: float) -> Action:
        try:
            state_of = self._state if is_parked(lease.body) else partial(self._end, lease.token)
            return plan(now, lease, self.settings.outbox_keeps, state_of)
        except Exception as error:  # the result backend is away, or this one result is corrupt
            if self.results.begins():
                ids = about(lease)
                logger.error(
                    "the result of run %s cannot be read: %s",
                    ids["run_id"],
                    text_of(error),
                    extra=ids,
                )
            return Postpone(now + pause(lease.tries))

    def _state(self, run_id: str, task: str) -> str:
        # A task may have a result backend of its own.
        owner = self.app.tasks.get(task, self.app)
        state = str(owner.AsyncResult(run_id).state)
        self.results.ends()
        return state

    def _end(self, token: str, run_id: str, task: str) -> str:
        """Return how the attempt has ended whose record has this token, or else the run's state."""
        winner = winner_of(self.app.tasks.get(task, self.app).backend, run_id)
        if winner is None:
            return self._state(run_id, task)
        return SUCCESS if winner == token else SUPERSEDED

    def _wake(self, planned: Sequence[_Planned], now: float) -> None:
        if not planned:
            return
        leases = [lease for lease, _ in planned]
        runs = {lease.id: action.run for lease, action in planned if isinstance(action, WakeRun)}
        delivery = wake(self.app, self.store, leases, runs)
        self._leave((lease for lease in leases if lease.id in delivery.unsent), now)
        for lease in leases:
            if lease.id in delivery.refused and lease.tries < _MOST_TRIES:
                self._leave([lease], now)  # a router may fail once
            elif lease.id in delivery.refused:
                reason = delivery.refused[lease.id]
                self._quarantine(lease, f"its message cannot be made: {reason}")

    def _try(self, lease: Leased, action: Action, now: float) -> bool:
        """Execute the plan for one record; return False if the broker was away."""
        ids = about(lease)
        with guard.logged(
            logger, "what run %s deferred could not be seen to", ids["run_id"], about=ids
        ):
            return self._act(lease, action, now)
        signals.send_record_failed()
        # One record does not block the others; if the store is away, this raises.
        self._leave([lease], now)
        return True

    def _act(self, lease: Leased, action: Action, now: float) -> bool:
        match action:
            case Publish():
                return self._publish(lease, action, now)
            case ContinueFanOut():
                self._continue(lease, action.event, now)
            case EndLost():
                self._end_lost(lease, action.reason)
            case EndCancelled():
                keep = self.settings.run_keeps
                task = end_cancelled(self.app, self.store, lease.id, lease.body, keep)
                facts = history.ended(self.settings, lease.id, task, RunState.ABORTED)
                self.store.settle(lease.id, lease.token, facts=facts)
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
            case Settle():
                facts = history.never_made(self.settings, lease)
                self.store.settle(lease.id, lease.token, facts=facts)
            case Postpone():
                self.store.postpone(lease.id, lease.token, action.until)
            case Drop():
                ids = about(lease)
                logger.warning(
                    "what run %s deferred is dropped: %s", ids["run_id"], action.reason, extra=ids
                )
                facts = history.never_made(self.settings, lease)
                self.store.settle(lease.id, lease.token, facts=facts)
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

    def _continue(self, lease: Leased, event: SentEvent, now: float) -> None:
        if continue_fan_out(extension_of(self.app), event):
            self.store.settle(lease.id, lease.token)
        else:
            self.store.postpone(lease.id, lease.token, now)

    def _leave(self, leases: Iterable[Leased], now: float) -> None:
        for lease in leases:
            self.store.postpone(lease.id, lease.token, now + pause(lease.tries))

    def _quarantine(self, lease: Leased, reason: str) -> None:
        keep, ids = self.settings.outbox_keeps, about(lease)
        if end_lost(self.app, self.store, lease, reason, keep):
            logger.error(
                "parked run %s is quarantined, and has failed: %s", lease.id, reason, extra=ids
            )
            return
        logger.error("what run %s deferred is quarantined: %s", ids["run_id"], reason, extra=ids)
        facts = history.quarantined(self.settings, lease)
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
