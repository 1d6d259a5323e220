"""What is to become of a record that nobody has settled; decided without acting."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from celery_defer.errors import RecordError, UnknownRecordError
from celery_defer.model import Outcome
from celery_defer.outbox import records
from celery_defer.outbox.parked import ParkedRun
from celery_defer.outbox.records import DeferredCalls, FanOut
from celery_defer.store import Leased, SentEvent

_LONGEST_PAUSE = 60.0
_MOST_DOUBLINGS = 6
# In these a run that was invoked has ended.
_ENDED = frozenset({"SUCCESS", "FAILURE", "REVOKED"})

#: Returns the stored state of a run of a task.
StateOf = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Publish:
    """The parent's end is known: publish what waits for it."""

    record: DeferredCalls
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class WakeRun:
    """A parked run's wait is over."""

    run: ParkedRun


@dataclass(frozen=True, slots=True)
class GoOn:
    """The sender of an event has died before all who waited for it were woken."""

    event: SentEvent


@dataclass(frozen=True, slots=True)
class Postpone:
    """What decides is not known yet, or not here."""

    until: float


@dataclass(frozen=True, slots=True)
class Drop:
    """Nothing will come of the record."""

    reason: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The record is of use to nobody but a human."""

    reason: str


Action = Publish | WakeRun | GoOn | Postpone | Drop | Quarantine


def plan(now: float, lease: Leased, keep: float, state_of: StateOf) -> Action:
    """Decide what to do with a record that is kept for *keep* seconds."""
    try:
        record = records.unpack(lease.id, lease.body)
    except UnknownRecordError:  # a worker of a later release sees to it
        return Postpone(now + _LONGEST_PAUSE)
    except RecordError as error:
        return Quarantine(str(error))
    match record:
        case DeferredCalls():
            return _plan_calls(now, lease, record, keep, state_of)
        case ParkedRun():
            return _plan_wake(now, lease, record, state_of)
        case FanOut():
            return GoOn(record.event)


def pause(tries: int) -> float:
    """Return the seconds until the next look: 2, 4, 8 … up to a minute."""
    return min(2.0 ** min(tries, _MOST_DOUBLINGS), _LONGEST_PAUSE)


def _plan_calls(
    now: float, lease: Leased, record: DeferredCalls, keep: float, state_of: StateOf
) -> Action:
    if record.verdict is not None:
        return Publish(record, record.verdict)
    state = state_of(record.parent, record.task)
    if state in Outcome.__members__:
        return Publish(record, Outcome(state))
    if state == "REVOKED":
        return Drop("its parent was revoked")
    if now - record.at > keep:
        return Drop(f"its parent has been {state} for {keep:.0f} seconds")
    return Postpone(now + pause(lease.tries))


def _plan_wake(now: float, lease: Leased, run: ParkedRun, state_of: StateOf) -> Action:
    longest = run.until or math.inf
    if run.child and now < longest and state_of(*run.child) not in _ENDED:
        return Postpone(min(now + pause(lease.tries), longest))
    return WakeRun(run)
