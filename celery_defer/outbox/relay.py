"""The relay: executes the plan for records that were not settled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any

from celery.states import SUCCESS

from celery_defer import guard
from celery_defer.broker import is_there
from celery_defer.outbox.about import about
from celery_defer.outbox.deeds import Deeds
from celery_defer.outbox.outage import Outage
from celery_defer.outbox.plan import (
    SUPERSEDED,
    Action,
    Postpone,
    WakeRun,
    pause,
    plan,
)
from celery_defer.outbox.records import is_parked
from celery_defer.outbox.wake import wake
from celery_defer.run import signals, winner_of
from celery_defer.settings import Settings
from celery_defer.store import Leased, Store
from celery_defer.text import text_of

logger = guard.logger(__name__)

#: How many records a tick leases, and for how many seconds.
LIMIT = 100
LEASE = 30.0

_Planned = tuple[Leased, Action]


@dataclass(slots=True)
class _Next:
    """When something is due, limits among it, as the store said last; 0 if it has not."""

    at: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Relay:
    """The relay of one worker; any number of relays may share an outbox."""

    app: Any
    store: Store
    settings: Settings
    #: Of the broker, which has no use for records then; and of the results.
    broker: Outage = field(default_factory=Outage)
    results: Outage = field(default_factory=Outage)
    _next: _Next = field(default_factory=_Next, init=False)

    @property
    def _deeds(self) -> Deeds:
        return Deeds(self.app, self.store, self.settings)

    def tick(self, now: float) -> int:
        """Lease the records that are due and do what ``plan`` says; return their number."""
        if not self._has_broker():
            return 0
        ends = monotonic() + LEASE
        self._wake_held(now)
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
                self._deeds.leave(rest[position + 1 :], now)
                break
        if due:
            self._next.at = 0.0  # the caller comes again at once, and does not ask
        return len(due)

    def next_due(self) -> float | None:
        """Return when the next record is due, or when a limit may let a run start."""
        self._next.at = 0.0  # unknown, if the store is away
        self._next.at = self.store.next_due()
        return self._next.at

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

    def _wake_held(self, now: float) -> None:
        """Wake runs that limits let start by now."""
        if self._next.at is not None and self._next.at <= now:
            wake(self.app, self.store, self.store.drain(now, now + LEASE, LIMIT))

    def _wake(self, planned: Sequence[_Planned], now: float) -> None:
        if not planned:
            return
        leases = [lease for lease, _ in planned]
        runs = {lease.id: action.run for lease, action in planned if isinstance(action, WakeRun)}
        self._deeds.put_off(leases, wake(self.app, self.store, leases, runs), now)

    def _try(self, lease: Leased, action: Action, now: float) -> bool:
        """Execute the plan for one record; return False if the broker was away."""
        ids = about(lease)
        with guard.logged(
            logger, "what run %s deferred could not be seen to", ids["run_id"], about=ids
        ):
            return self._deeds.do(lease, action, now)
        signals.send_record_failed()
        # One record does not block the others; if the store is away, this raises.
        self._deeds.leave([lease], now)
        return True
