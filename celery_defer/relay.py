"""The relay: what became of the records that nobody has settled."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celery_defer import broker, outbox, record
from celery_defer.errors import RecordError
from celery_defer.model import Outcome, Record
from celery_defer.settings import Settings
from celery_defer.store import Store, Taken

__all__ = ["Drop", "Publish", "Quarantine", "Wait", "plan", "tick"]

logger = logging.getLogger(__name__)

#: A tick takes this many records, and holds them for so many seconds.
LIMIT = 100
LEASE = 60.0
_LONGEST_WAIT = 60.0


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
    """The parent has not ended, or not where it could be seen."""

    until: float


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The record is of no use to anyone but a human."""

    reason: str


Action = Publish | Drop | Wait | Quarantine


def plan(now: float, taken: Taken, keep: float, state_of: Callable[[str], str]) -> Action:
    """Decide what to do with a record; *state_of* answers the stored state of a run."""
    try:
        read = record.unpack(taken.body)
    except RecordError as error:
        return Quarantine(str(error))
    if not read.is_judged:
        return Publish(read, read.outcome)
    state = state_of(read.parent)
    if state in Outcome.__members__:
        return Publish(read, Outcome(state))
    if state == "REVOKED":
        return Drop("its parent was revoked")
    if now - read.at > keep:
        return Drop(f"its parent's state is {state} since {keep:.0f} seconds")
    return Wait(now + min(2.0**taken.tries, _LONGEST_WAIT))


def tick(app: Any, store: Store, settings: Settings, now: float) -> int:
    """Take what is due and do what ``plan`` says; answer how many records that was."""
    taken = store.take(now, now + LEASE, LIMIT)
    for one in taken:
        _act(app, store, one, plan(now, one, settings.keep, lambda id: _state(app, id)), now)
    return len(taken)


def _act(app: Any, store: Store, taken: Taken, action: Action, now: float) -> None:
    match action:
        case Publish(read, outcome):
            _publish(app, store, taken, read, outcome, now)
        case Drop(reason):
            logger.warning("what run %s deferred is dropped: %s", taken.id, reason)
            store.settle(taken.id, taken.token)
        case Wait(until):
            store.postpone(taken.id, taken.token, until)
        case Quarantine(reason):
            _quarantine(store, taken, reason)
