"""What a relay does with a record that was not settled: the decision alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from celery_defer.errors import RecordError, UnknownRecordError
from celery_defer.ids import run_id
from celery_defer.model import ENDED, Outcome
from celery_defer.outbox import records
from celery_defer.outbox.gathered import GatheredCalls
from celery_defer.outbox.parked import ParkedRun
from celery_defer.outbox.records import SPARE, DeferredCalls, FanOut, Record
from celery_defer.store import Leased, SentEvent

_LONGEST_PAUSE = 60.0
_MOST_DOUBLINGS = 6
# A run with one of these has had its turn, or does not need it. FAILURE is not among them: Celery
# may store that for a worker that was killed after it had parked the run.
_OVER = frozenset({"SUCCESS", "REVOKED"})

#: The state of an attempt's calls when another attempt has succeeded.
SUPERSEDED = "SUPERSEDED"
_DROPPED = {
    SUPERSEDED: "another attempt of its parent has succeeded",
    "REVOKED": "its parent was revoked",
}

#: Returns the stored state of a run, by its id and its task.
StateOf = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Publish:
    """The parent has ended: publish the calls that wait for that."""

    record: DeferredCalls
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class PublishBatch:
    """The time of a batch is up."""

    batch: GatheredCalls


@dataclass(frozen=True, slots=True)
class WakeRun:
    """A parked run's wait is over."""

    run: ParkedRun


@dataclass(frozen=True, slots=True)
class ContinueFanOut:
    """The sender of an event died before all waiting runs were woken."""

    event: SentEvent


@dataclass(frozen=True, slots=True)
class Postpone:
    """It cannot be decided yet, or not by this worker."""

    until: float


@dataclass(frozen=True, slots=True)
class Drop:
    """No call of the record will be published."""

    reason: str


@dataclass(frozen=True, slots=True)
class Settle:
    """The run has started, or has ended: nothing is left to be done."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The invoked run will not start."""

    record: DeferredCalls
    reason: str


@dataclass(frozen=True, slots=True)
class EndCancelled:
    """A parked run was cancelled, by a process that has not reported its end."""


@dataclass(frozen=True, slots=True)
class EndLost:
    """The record is gone."""

    reason: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A person has to look at the record."""

    reason: str


Action = (
    Publish
    | PublishBatch
    | WakeRun
    | ContinueFanOut
    | Postpone
    | Drop
    | Settle
    | Refuse
    | EndCancelled
    | EndLost
    | Quarantine
)


def plan(now: float, lease: Leased, keep: float, state_of: StateOf) -> Action:
    """Decide what to do with a record that is kept for *keep* seconds.

    How long it has waited is told by how long it has still to live, by the store's clock.
    """
    if not lease.tries:
        return EndLost("its record has vanished")
    if not lease.token:
        return Quarantine(f"the record cannot be read: its key holds {lease.body[:20]!r}")
    if lease.is_cancelled:
        return EndCancelled()
    try:
        return _plan(now, lease, records.unpack(lease.id, lease.body), keep, state_of)
    except UnknownRecordError:  # a worker of another release handles it
        return Postpone(now + _LONGEST_PAUSE)
    except RecordError as error:
        return Quarantine(str(error))


def pause(tries: int) -> float:
    """Return the seconds until the next look: 2, 4, 8 … up to a minute."""
    return min(2.0 ** min(tries, _MOST_DOUBLINGS), _LONGEST_PAUSE)


def _plan(now: float, lease: Leased, record: Record, keep: float, state_of: StateOf) -> Action:
    match record:
        case DeferredCalls():
            return _plan_calls(now, lease, record, keep, state_of)
        case ParkedRun():
            return _plan_wake(now, lease, record, keep, state_of)
        case GatheredCalls():
            return PublishBatch(record) if record.calls else Settle()
        case FanOut():
            return ContinueFanOut(record.event)


def _plan_calls(
    now: float, lease: Leased, record: DeferredCalls, keep: float, state_of: StateOf
) -> Action:
    if record.invocation:
        return _plan_invocation(now, lease, record, keep, state_of)
    if record.verdict is not None:
        return Publish(record, record.verdict)
    state = state_of(record.parent, record.task)
    if state in Outcome.__members__:
        return Publish(record, Outcome(state))
    if state in _DROPPED:
        return Drop(_DROPPED[state])
    if lease.left <= SPARE:
        return Drop(f"its parent has been {state} for {keep:.0f} seconds")
    return Postpone(now + pause(lease.tries))


def _plan_invocation(
    now: float, lease: Leased, record: DeferredCalls, keep: float, state_of: StateOf
) -> Action:
    [call] = record.calls
    if state_of(run_id(record.parent, call.id), call.task) != "PENDING":
        return Settle()
    if call.options.is_expired(record.at, now):
        return Refuse(record, "it has expired before a worker could start it")
    if lease.left <= SPARE:
        return Refuse(record, f"no worker has started it for {keep:.0f} seconds")
    return Publish(record, record.verdict or Outcome.SUCCESS)


def _plan_wake(now: float, lease: Leased, run: ParkedRun, keep: float, state_of: StateOf) -> Action:
    left = lease.left - keep  # it is kept for so long after its wait
    if run.child and left > 0 and state_of(*run.child) not in ENDED:
        return Postpone(now + min(pause(lease.tries), left))
    # A run that is woken again may have gone on all the same, while the store was away.
    if lease.tries > 1 and state_of(run.id, run.task) in _OVER:
        return Settle()
    return WakeRun(run)
