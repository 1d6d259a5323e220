"""The relay: what becomes of the records that nobody has settled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from celery_defer import record
from celery_defer.broker import is_there
from celery_defer.delivery import deliver
from celery_defer.errors import RecordError
from celery_defer.model import Outcome, Record
from celery_defer.outbox import conclude
from celery_defer.scope import Staged
from celery_defer.settings import Settings
from celery_defer.store import Store, Taken

__all__ = ["Action", "Drop", "Publish", "Quarantine", "Relay", "Wait", "plan"]

logger = logging.getLogger(__name__)

#: A tick takes so many records, and holds them for so many seconds.
LIMIT = 100
LEASE = 30.0
_LONGEST_WAIT = 60.0
_MOST_DOUBLINGS = 6
#: After so many looks, some six minutes, no worker is expected to know the task any more.
_UNKNOWN_TRIES = 10


@dataclass(frozen=True, slots=True)
class Publish:
    """The parent's end is known: publish what waits for it."""

    record: Record
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Drop:
    """Nothing will come of the record."""

    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """The parent has not ended, or not yet where it can be seen."""

    until: float


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The record is of use to nobody but a human."""

    reason: str


Action = Publish | Drop | Wait | Quarantine


def plan(now: float, taken: Taken, keep: float, state_of: Callable[[str, str], str]) -> Action:
    """Decide what to do with a record; *state_of* answers the stored state of a run of a task."""
    try:
        read = record.unpack(taken.body)
    except RecordError as error:
        return Quarantine(str(error))
    if not read.is_judged:
        return Publish(read, read.outcome)
    state = state_of(read.parent, read.task)
    if state in Outcome.__members__:
        return Publish(read, Outcome(state))
    if state == "REVOKED":
        return Drop("its parent was revoked")
    if now - read.at > keep:
        return Drop(f"its parent has been {state} for {keep:.0f} seconds")
    return Wait(now + _pause(taken.tries))


@dataclass(frozen=True, slots=True)
class Relay:
    """One worker's share of the work: any number of relays may look after one outbox."""

    app: Any
    store: Store
    settings: Settings

    def tick(self, now: float) -> int:
        """Take what is due and do what ``plan`` says; answer how many records that was."""
        due = self.store.take(now, now + LEASE, LIMIT)
        for position, taken in enumerate(due):
            if not self._handle(taken, now) and not is_there(self.app):
                self._leave(due[position + 1 :], now)
                break
        return len(due)

    def _handle(self, taken: Taken, now: float) -> bool:
        """See to one record; False if some of it found no broker."""
        try:
            action = plan(now, taken, self.settings.outbox_keeps, self._state)
        except Exception:  # the result backend is away, or has garbage for this one parent
            logger.exception("the result of run %s cannot be read", taken.id)
            action = Wait(now + _pause(taken.tries))
        return self._act(taken, action, now)

    def _state(self, run_id: str, task: str) -> str:
        # A task may have a result backend of its own.
        owner = self.app.tasks.get(task, self.app)
        return str(owner.AsyncResult(run_id).state)

    def _act(self, taken: Taken, action: Action, now: float) -> bool:
        if isinstance(action, Publish):
            return self._publish(taken, action, now)
        if isinstance(action, Quarantine):
            self._quarantine(taken, action.reason)
        elif isinstance(action, Wait):
            self.store.postpone(taken.id, taken.token, action.until)
        else:
            logger.warning("what run %s deferred is dropped: %s", taken.id, action.reason)
            self.store.settle(taken.id, taken.token)
        return True

    def _publish(self, taken: Taken, action: Publish, now: float) -> bool:
        # A token of its own: what the worker may have published is another publication.
        token = f"{taken.token}.{taken.tries}"
        done = deliver(self.app, action.record, action.outcome, token, is_durable=True)
        if done.sent:
            logger.info("the relay has published what run %s deferred", taken.id)
        if done.unknown and taken.tries >= _UNKNOWN_TRIES:
            done = replace(done, unknown=(), refused=(*done.refused, *done.unknown))
        if done.refused:
            logger.error("what run %s deferred %s", taken.id, done.reason)
        kept = Staged(taken.id, taken.token, action.record)
        due, keep = now + _pause(taken.tries), self.settings.outbox_keeps
        conclude(self.store, kept, action.outcome, done, due=due, keep=keep)
        return not done.unsent

    def _leave(self, rest: Sequence[Taken], now: float) -> None:
        for taken in rest:
            self.store.postpone(taken.id, taken.token, now + _pause(taken.tries))

    def _quarantine(self, taken: Taken, reason: str) -> None:
        logger.error("what run %s deferred is quarantined: %s", taken.id, reason)
        self.store.quarantine(taken.id, taken.token, reason, self.settings.outbox_keeps)


def _pause(tries: int) -> float:
    """Seconds until the next look: 2, 4, 8 … up to a minute."""
    return min(2.0 ** min(tries, _MOST_DOUBLINGS), _LONGEST_WAIT)
