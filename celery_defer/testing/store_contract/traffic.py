"""Runs of a function with limits, as workers bring them to a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from celery_defer.flow import Admission, Ask, Gate, Kind, Later
from celery_defer.ids import RunId
from celery_defer.store import Claim, Held, Hold, Holding, Leased, Store
from celery_defer.testing.store_contract.shorthand import KEEP

#: Seconds for which a place is held without a sign of life.
LEASE = 30.0
#: Seconds after which a run that is held back is published at the latest.
DAY = 86_400.0


class Clock(Protocol):
    """The clock by which the store decides."""

    now: float

    def move(self, seconds: float) -> None:
        """Let time pass."""
        ...


def concurrency(limit: int = 1, key: str = "", name: str = "concurrency") -> Gate:
    return Gate(Kind.CONCURRENCY, name, key, limit=limit)


def throttle(limit: int = 1, period: float = 10.0, burst: int = 1, key: str = "") -> Gate:
    """Return a throttle whose starts are *period* / *limit* apart, with what it has in reserve."""
    period -= min(period * 0.025 / 1.025, 0.1)
    return Gate(Kind.THROTTLE, "throttle", key, limit=limit, period=period, burst=burst)


@dataclass
class Traffic:
    """What workers and relays do with the runs of one function, when a test says so."""

    store: Store
    clock: Clock
    task: str = "task"
    lease: float = LEASE
    #: The delivery that each run was asked for last, and the turn that it is in.
    asks: dict[str, Ask] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)
    #: Runs that were let through, in their order.
    let: list[str] = field(default_factory=list)
    deliveries: int = 0

    def arrive(self, run: str, *gates: Gate, age: float = 0.0, priority: float = 0.0) -> Admission:
        """Bring the message of a run to a worker; let it wait if it may not start."""
        ask = self.ask(run, *gates, age=age, priority=priority)
        admission = self.claim(ask).admission
        if isinstance(admission, Later):
            self.hold(ask)
        assert admission is not None
        return admission

    def come(self, run: str, *gates: Gate, goes_on: bool = False) -> Admission:
        """Bring the wake-up of a run to a worker; let it wait if it may not start."""
        ask = self.ask(run, *gates, goes_on=goes_on)
        admission = self.resume(ask).admission
        if isinstance(admission, Later):
            self.hold(ask)
        assert admission is not None
        return admission

    def ask(
        self,
        run: str,
        *gates: Gate,
        goes_on: bool = False,
        age: float = 0.0,
        priority: float = 0.0,
    ) -> Ask:
        """Return what a delivery asks; without gates, those that the run asked for last."""
        self.deliveries += 1
        before = self.asks.get(run)
        token = f"{self.task}.{run}.{self.deliveries}"
        kept = before.gates if before and not gates else gates
        self.asks[run] = Ask(
            self.task,
            RunId(run),
            token,
            kept,
            self.lease,
            goes_on=goes_on,
            made=self.clock.now - age,
            priority=priority,
        )
        return self.asks[run]

    def claim(self, ask: Ask) -> Claim:
        return self.store.claim(ask.run, ask.token, KEEP, ask=ask)

    def resume(self, ask: Ask) -> Claim:
        turn = self.turns.get(ask.run, 0)
        return self.store.resume(ask.run, turn, ask.token, KEEP, ask=ask).claim

    def hold(self, ask: Ask) -> Held:
        now, turn = self.clock.now, self.turns.get(ask.run, 0)
        holding = Holding(turn, f"record-{turn}", b"body", now + DAY)
        held = self.store.hold(ask, holding, now=now, until=now + 10, keep=KEEP)
        if isinstance(held.admission, Later):
            self.turns[ask.run] = turn + 1
        self._note(held.leased)
        return held

    def end(self, run: str, *, idle: float | None = None) -> list[str]:
        """End a run, or with *idle* its attempt; return those that are let through for it."""
        ask = self.asks[run]
        return self.give_back(ask, ask.token, ended=idle is None, idle=idle or 0.0)

    def give_back(
        self, ask: Ask, token: str | None, *, ended: bool, idle: float = 0.0, limit: int = 99
    ) -> list[str]:
        now = self.clock.now
        return self._note(
            self.store.give_back(
                ask.run, self.task, ask.gates, token,
                ended=ended, idle=idle, now=now, until=now + 10, limit=limit,
            )
        )  # fmt: skip

    def drain(self, limit: int = 99) -> list[str]:
        """Do what a relay does: let through whoever may start by now."""
        now = self.clock.now
        return self._note(self.store.drain(now, now + 10, limit))

    def renew(self, *runs: str) -> list[str]:
        """Renew the places of runs; return those that have lost one."""
        holds = [
            Hold(self.task, self.asks[run].run, self.asks[run].token, self.asks[run].gates)
            for run in runs
        ]
        return [hold.run for hold in self.store.renew(holds, self.lease)]

    def running(self) -> int:
        """Return how many places are in use at the first limit."""
        [state] = self.store.flow([self.task])
        return state.limits[0].running

    def _note(self, leased: Sequence[Leased]) -> list[str]:
        runs = [str(lease.id) for lease in leased]
        self.let += runs
        return runs

    def in_place(self, run: str) -> int:
        """Return the place of a run in its line; 0 if it is in none."""
        [standing] = self.store.in_line([RunId(run)])
        return standing.place if standing else 0
