"""The relay: does what is planned for the records that nobody has settled."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from celery.states import FAILURE

from celery_defer.broker import is_there
from celery_defer.current import extension_of
from celery_defer.errors import RecordError
from celery_defer.ids import run_id
from celery_defer.outbox.fanout import go_on
from celery_defer.outbox.plan import (
    Action,
    Drop,
    GoOn,
    Postpone,
    Publish,
    Quarantine,
    WakeRun,
    pause,
    plan,
)
from celery_defer.outbox.publish import conclude, deliver, reason
from celery_defer.outbox.records import is_parked
from celery_defer.outbox.wake import wake
from celery_defer.settings import Settings
from celery_defer.store import Leased, SentEvent, Store

logger = logging.getLogger(__name__)

#: A tick takes so many records, and holds them for so many seconds.
LIMIT = 100
LEASE = 30.0
#: After so many tries, some six minutes, a message is taken for one that cannot be made.
_MOST_TRIES = 10
#: After so many seconds no worker is expected to know the task any more.
_UNKNOWN_PATIENCE = 300.0

_Planned = tuple[Leased, Action]


@dataclass(frozen=True, slots=True)
class Relay:
    """One worker's share of the work: any number of relays may look after one outbox."""

    app: Any
    store: Store
    settings: Settings

    def tick(self, now: float) -> int:
        """Take what is due and do what ``plan`` says; return how many records that was."""
        due = self.store.take(now, now + LEASE, LIMIT)
        planned = [(lease, self._plan(lease, now)) for lease in due if not _has_vanished(lease)]
        self._wake([each for each in planned if isinstance(each[1], WakeRun)], now)
        rest = [each for each in planned if not isinstance(each[1], WakeRun)]
        for position, (lease, action) in enumerate(rest):
            if not self._see_to(lease, action, now) and not is_there(self.app):
                self._leave((lease for lease, _ in rest[position + 1 :]), now)
                break
        return len(due)

    def next_due(self) -> float | None:
        """Return when there is something to do."""
        return self.store.next_due()

    def _plan(self, lease: Leased, now: float) -> Action:
        try:
            return plan(now, lease, self.settings.outbox_keeps, self._state)
        except Exception:  # the result backend is away, or has garbage for this one parent
            logger.exception("the result of run %s cannot be read", lease.id)
            return Postpone(now + pause(lease.tries))

    def _state(self, run_id: str, task: str) -> str:
        # A task may have a result backend of its own.
        owner = self.app.tasks.get(task, self.app)
        return str(owner.AsyncResult(run_id).state)

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
                self._quarantine(lease, "its message cannot be made")

    def _see_to(self, lease: Leased, action: Action, now: float) -> bool:
        """Do what was planned for one record; False if some of it found no broker."""
        try:
            return self._act(lease, action, now)
        except Exception:  # one record holds back no other; a store that is away ends the look
            logger.exception("what run %s deferred could not be seen to", lease.id)
            self._leave([lease], now)
            return True

    def _act(self, lease: Leased, action: Action, now: float) -> bool:
        match action:
            case Publish():
                return self._publish(lease, action, now)
            case GoOn():
                self._go_on(lease, action.event, now)
            case Quarantine():
                self._quarantine(lease, action.reason)
            case Postpone():
                self.store.postpone(lease.id, lease.token, action.until)
            case Drop():
                logger.warning("what run %s deferred is dropped: %s", lease.id, action.reason)
                self.store.settle(lease.id, lease.token)
        return True

    def _publish(self, lease: Leased, action: Publish, now: float) -> bool:
        record = action.record
        # A token of its own: what the worker may have published is another publication.
        token = f"{lease.token}.{lease.tries}"
        delivery = deliver(self.app, record, action.outcome, token, is_durable=True)
        if delivery.sent:
            logger.info("the relay has published what run %s deferred", lease.id)
        if now - (record.unknown_since or now) >= _UNKNOWN_PATIENCE:
            refused = delivery.refused | delivery.unknown
            delivery = replace(delivery, unknown=frozenset(), refused=refused)
        if delivery.refused:
            calls = [c for c in record.calls if run_id(record.parent, c.id) in delivery.refused]
            logger.error("what run %s deferred %s", lease.id, reason(tuple(calls)))
        conclude(
            self.store, lease, record, action.outcome, delivery,
            now=now, pause=pause(lease.tries), keep=self.settings.outbox_keeps,
        )  # fmt: skip
        return not delivery.unsent

    def _go_on(self, lease: Leased, event: SentEvent, now: float) -> None:
        if go_on(self.app, extension_of(self.app), event):
            self.store.settle(lease.id, lease.token)
        else:
            self.store.postpone(lease.id, lease.token, now)

    def _leave(self, leases: Iterable[Leased], now: float) -> None:
        for lease in leases:
            self.store.postpone(lease.id, lease.token, now + pause(lease.tries))

    def _quarantine(self, lease: Leased, why: str) -> None:
        self.store.quarantine(lease.id, lease.token, why, self.settings.outbox_keeps)
        if not is_parked(lease.body):
            logger.error("what run %s deferred is quarantined: %s", lease.id, why)
            return
        logger.error("parked run %s is quarantined, and has failed: %s", lease.id, why)
        error = RecordError(f"run {lease.id} was parked, and cannot go on: {why}")
        self.app.backend.store_result(lease.id, error, FAILURE)


def _has_vanished(lease: Leased) -> bool:
    if lease.tries:
        return False
    logger.error(
        "the record of run %s has vanished from the store, and what it was to do", lease.id
    )
    return True
