"""The relay: what becomes of the records that nobody has settled."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from celery.states import FAILURE

from celery_defer.broker.publish import is_there
from celery_defer.errors import RecordError
from celery_defer.model import Outcome, Record
from celery_defer.outbox import fanout as waves
from celery_defer.outbox import parked
from celery_defer.outbox import records as record
from celery_defer.outbox.messages import deliver
from celery_defer.outbox.parked import Parked
from celery_defer.outbox.publish import conclude
from celery_defer.outbox.wake import wake
from celery_defer.run.scope import Staged
from celery_defer.settings import Settings
from celery_defer.store import SentEvent, Store, Taken

__all__ = ["Action", "Drop", "Publish", "Quarantine", "Relay", "Spread", "Wait", "Wake", "plan"]

logger = logging.getLogger(__name__)

#: A tick takes so many records, and holds them for so many seconds.
LIMIT = 100
LEASE = 30.0
_LONGEST_WAIT = 60.0
#: After so many tries, some six minutes, a message is taken for one that cannot be made.
_MOST_TRIES = 10
_MOST_DOUBLINGS = 6
#: After so many seconds no worker is expected to know the task any more.
_UNKNOWN_PATIENCE = 300.0


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


@dataclass(frozen=True, slots=True)
class Wake:
    """A parked run's wait is over."""

    run: Parked


@dataclass(frozen=True, slots=True)
class Spread:
    """The sender of an event has died before all who waited for it were woken."""

    event: SentEvent


Action = Publish | Drop | Wait | Quarantine | Wake | Spread

# In these a run that was invoked has ended.
_ENDED = frozenset({"SUCCESS", "FAILURE", "REVOKED"})


def plan(now: float, taken: Taken, keep: float, state_of: Callable[[str, str], str]) -> Action:
    """Decide what to do with a record; *state_of* answers the stored state of a run of a task."""
    try:
        if waves.is_unfinished(taken.body):
            return Spread(waves.unpack(taken.body))
        if parked.is_parked(taken.body):
            return _plan_wake(now, taken, state_of)
        return _plan_calls(now, taken, keep, state_of)
    except RecordError as error:
        return Quarantine(str(error))


def _plan_calls(
    now: float, taken: Taken, keep: float, state_of: Callable[[str, str], str]
) -> Action:
    read = record.unpack(taken.body)
    if read.verdict is not None:
        return Publish(read, read.verdict)
    state = state_of(read.parent, read.task)
    if state in Outcome.__members__:
        return Publish(read, Outcome(state))
    if state == "REVOKED":
        return Drop("its parent was revoked")
    if now - read.at > keep:
        return Drop(f"its parent has been {state} for {keep:.0f} seconds")
    return Wait(now + _pause(taken.tries))


def _plan_wake(now: float, taken: Taken, state_of: Callable[[str, str], str]) -> Action:
    run = parked.unpack(taken.id, taken.body)
    longest = run.until or math.inf
    if run.child and now < longest and state_of(*run.child) not in _ENDED:
        return Wait(min(now + _pause(taken.tries), longest))
    return Wake(run)


@dataclass(frozen=True, slots=True)
class Relay:
    """One worker's share of the work: any number of relays may look after one outbox."""

    app: Any
    store: Store
    settings: Settings
    #: Whether anybody listens to events of tasks.
    tells: Callable[[], bool] = lambda: True

    def tick(self, now: float) -> int:
        """Take what is due and do what ``plan`` says; answer how many records that was."""
        due = self.store.take(now, now + LEASE, LIMIT)
        plans = [(taken, self._plan(taken, now)) for taken in due if not _has_vanished(taken)]
        self._wake({taken: action.run for taken, action in plans if isinstance(action, Wake)}, now)
        rest = [planned for planned in plans if not isinstance(planned[1], Wake)]
        for position, (taken, action) in enumerate(rest):
            if not self._see_to(taken, action, now) and not is_there(self.app):
                self._leave([left for left, _ in rest[position + 1 :]], now)
                break
        return len(due)

    def next_due(self) -> float | None:
        """Answer when there is something to do."""
        return self.store.next_due()

    def _plan(self, taken: Taken, now: float) -> Action:
        try:
            return plan(now, taken, self.settings.outbox_keeps, self._state)
        except Exception:  # the result backend is away, or has garbage for this one parent
            logger.exception("the result of run %s cannot be read", taken.id)
            return Wait(now + _pause(taken.tries))

    def _wake(self, due: Mapping[Taken, Parked], now: float) -> None:
        read = {taken.id: run for taken, run in due.items()}
        woken = wake(self.app, self.store, list(due), tells=self.tells(), read=read)
        self._leave(woken.unsent, now)
        for taken in woken.refused:
            if taken.tries < _MOST_TRIES:  # a router may fail once
                self.store.postpone(taken.id, taken.token, now + _pause(taken.tries))
            else:
                self._quarantine(taken, "its message cannot be made")

    def _state(self, run_id: str, task: str) -> str:
        # A task may have a result backend of its own.
        owner = self.app.tasks.get(task, self.app)
        return str(owner.AsyncResult(run_id).state)

    def _see_to(self, taken: Taken, action: Action, now: float) -> bool:
        """Do what was planned for one record; False if some of it found no broker."""
        try:
            return self._act(taken, action, now)
        except Exception:  # one record holds back no other; a store that is away ends the look
            logger.exception("what run %s deferred could not be seen to", taken.id)
            self.store.postpone(taken.id, taken.token, now + _pause(taken.tries))
            return True

    def _act(self, taken: Taken, action: Action, now: float) -> bool:
        if isinstance(action, Publish):
            return self._publish(taken, action, now)
        if isinstance(action, Spread):
            self._spread(taken, action.event, now)
        elif isinstance(action, Quarantine):
            self._quarantine(taken, action.reason)
        elif isinstance(action, Wait):
            self.store.postpone(taken.id, taken.token, action.until)
        elif isinstance(action, Drop):
            logger.warning("what run %s deferred is dropped: %s", taken.id, action.reason)
            self.store.settle(taken.id, taken.token)
        return True

    def _publish(self, taken: Taken, action: Publish, now: float) -> bool:
        # A token of its own: what the worker may have published is another publication.
        token = f"{taken.token}.{taken.tries}"
        done = deliver(self.app, action.record, action.outcome, token, is_durable=True)
        if done.sent:
            logger.info("the relay has published what run %s deferred", taken.id)
        if now - (action.record.unknown_since or now) >= _UNKNOWN_PATIENCE:
            done = replace(done, unknown=(), refused=(*done.refused, *done.unknown))
        if done.refused:
            logger.error("what run %s deferred %s", taken.id, done.reason)
        kept = Staged(taken.id, taken.token, action.record)
        pause, keep = _pause(taken.tries), self.settings.outbox_keeps
        conclude(self.store, kept, action.outcome, done, now=now, pause=pause, keep=keep)
        return not done.unsent

    def _spread(self, taken: Taken, event: SentEvent, now: float) -> None:
        if waves.go_on(self.app, self.app._celery_defer, event):
            self.store.settle(taken.id, taken.token)
        else:
            self.store.postpone(taken.id, taken.token, now)

    def _leave(self, rest: Sequence[Taken], now: float) -> None:
        for taken in rest:
            self.store.postpone(taken.id, taken.token, now + _pause(taken.tries))

    def _quarantine(self, taken: Taken, reason: str) -> None:
        self.store.quarantine(taken.id, taken.token, reason, self.settings.outbox_keeps)
        if not parked.is_parked(taken.body):
            logger.error("what run %s deferred is quarantined: %s", taken.id, reason)
            return
        logger.error("parked run %s is quarantined, and has failed: %s", taken.id, reason)
        error = RecordError(f"run {taken.id} was parked, and cannot go on: {reason}")
        self.app.backend.store_result(taken.id, error, FAILURE)


def _pause(tries: int) -> float:
    """Seconds until the next look: 2, 4, 8 … up to a minute."""
    return min(2.0 ** min(tries, _MOST_DOUBLINGS), _LONGEST_WAIT)


def _has_vanished(taken: Taken) -> bool:
    if taken.tries:
        return False
    logger.error(
        "the record of run %s has vanished from the store, and what it was to do", taken.id
    )
    return True
