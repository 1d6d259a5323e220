"""What the gates of the memory store say to a run that asks, and what they count then."""

from __future__ import annotations

import math
from dataclasses import replace

from celery_defer.flow import Admission, Ask, Drop, Gate, Go, Kind, Later
from celery_defer.flow.decide import PAUSE, Line, Standing, admit, interval, opens, ready
from celery_defer.ids import RunId
from celery_defer.store.memory.gates import GateId, Lane, MemoryPass
from celery_defer.store.memory.lines import MemoryLines

_ONCE = {Kind.IDEMPOTENCY, Kind.RATE_LIMIT}


class MemoryAsking(MemoryLines):
    """Counts who starts, by the clock of the store."""

    def _claim_with(self, ask: Ask, *, is_again: bool) -> Admission:
        """Return what becomes of a run that arrives, and count it.

        A delivery that comes again has passed what is asked only once, or was dropped.
        """
        now, known = self.clock(), self._passes.setdefault(ask.run, MemoryPass())
        admission = known.drop or self._decide(ask, now, is_first=not is_again, is_woken=False)
        if isinstance(admission, Drop):
            known.drop = admission
        elif not is_again:
            self._mark(ask, now, admission.cancels)
        if isinstance(admission, Go):
            self._start(ask, admission, now)
        return admission

    def _resume_with(self, ask: Ask) -> Admission:
        """Return what becomes of a run that was woken; count it if it starts."""
        now = self.clock()
        admission = self._decide(ask, now, is_first=False, is_woken=True)
        if isinstance(admission, Go):
            self._pass_debounce(ask, admission)
            self._start(ask, admission, now)
        return admission

    def _decide(self, ask: Ask, now: float, *, is_first: bool, is_woken: bool) -> Admission:
        self._remember_limits(ask)
        known = self._passes.get(ask.run, MemoryPass())
        standings = [
            self._standing(
                ask,
                gate,
                now,
                is_first=is_first,
                is_woken=is_woken,
            )
            for gate in ask.gates
            if _counts(gate, ask, is_first=is_first, has_passed=known.has_passed)
        ]
        return admit(standings, self._line(ask, now))

    def _remember_limits(self, ask: Ask) -> None:
        """Remember the limits of a function as its worker has them."""
        limits = self._limits[ask.task]
        limits.lease = ask.lease
        gates = {gate.name: replace(gate, key="") for gate in ask.gates}
        before = {name: self._numbers(GateId(ask.task, name)) for name in limits.gates}
        limits.gates.update(gates)
        for name in gates:
            self._compare(GateId(ask.task, name), before.get(name))

    def _line(self, ask: Ask, now: float) -> Line:
        lane, known = lane_of(ask), self._passes.get(ask.run, MemoryPass())
        is_paused, behind = self._limits[ask.task].is_paused, None
        if lane in self._lanes and self._head(lane) not in {None, ask.run}:
            at = self._lanes[lane].at
            behind = at.name, at.key
        return Line(is_paused, known.let > now and known.lane == lane, behind)

    def _is_reserved(self, ask: Ask, gate: Gate, now: float) -> bool:
        """Whether the run was let through at this gate, and its place waits for it."""
        known, id = self._passes.get(ask.run, MemoryPass()), GateId(ask.task, gate.name, gate.key)
        if known.let <= now or known.lane is None or id not in known.lane.gates:
            return False
        ends = self._gates[id].places.get((ask.run, ""), 0.0)
        return gate.kind is Kind.THROTTLE or ends > now

    def _standing(
        self, ask: Ask, gate: Gate, now: float, *, is_first: bool, is_woken: bool
    ) -> Standing:
        state, is_reserved = self._gate_of(ask.task, gate), self._is_reserved(ask, gate, now)
        numbers = self._numbers(GateId(ask.task, gate.name))
        gate = replace(numbers, key=gate.key, cancels=gate.cancels)
        match gate.kind:
            case Kind.IDEMPOTENCY | Kind.SINGLETON:
                is_alive = state.until > now or (
                    gate.kind is Kind.SINGLETON and state.mark in self._outbox
                )
                if gate.cancels and state.mark == ask.run:
                    # Whoever claimed it may have died; one that goes on has cancelled the other.
                    return Standing(gate, by=None if ask.goes_on else state.before)
                # One that comes again may have lost its mark, and cancels nobody else; nor does one
                # whose message was overtaken.
                is_newest = is_first and state.at <= ask.order(now)
                gate = replace(gate, cancels=gate.cancels and is_newest)
                return Standing(gate, by=state.mark if is_alive and state.mark != ask.run else None)
            case Kind.RATE_LIMIT:
                times = [] if ask.run in state.starts else state.starts.values()
                return Standing(gate, used=sum(at > now - gate.period for at in times))
            case Kind.DEBOUNCE:
                return self._debounce_standing(ask, gate, now, is_woken=is_woken)
            case Kind.CONCURRENCY:
                used = state.used(now, but=ask.run, token=ask.token)
                return Standing(gate, used, is_reserved=is_reserved)
            case Kind.THROTTLE:
                at = ready(gate, state.tat if is_reserved else max(state.tat, state.paced))
                return Standing(gate, wait=max(at - now, 0.0), is_reserved=is_reserved)

    def _debounce_standing(self, ask: Ask, gate: Gate, now: float, *, is_woken: bool) -> Standing:
        state, at = self._gate_of(ask.task, gate), ask.order(now)
        is_next = state.waiting is None or state.waiting[1] == ask.run
        if is_woken and is_next:
            return Standing(gate)
        for other in (state.waiting, state.gone):
            if other and other[1] != ask.run and other[0] > at:
                return Standing(gate, by=other[1])
        if is_woken:
            return Standing(gate)
        first = state.first if state.waiting else now
        ends = now + gate.period
        if gate.timeout is not None:
            ends = min(ends, first + gate.timeout)
        return Standing(gate, wait=max(ends - now, 1e-6))

    def _mark(self, ask: Ask, now: float, cancels: RunId | None) -> None:
        for gate in ask.gates:
            state = self._gate_of(ask.task, gate)
            if gate.kind is Kind.IDEMPOTENCY and (state.mark != ask.run or state.until <= now):
                numbers = self._numbers(GateId(ask.task, gate.name))
                state.mark, state.until = ask.run, now + numbers.period
            elif gate.kind is Kind.SINGLETON:
                state.mark, state.until, state.before = ask.run, now + ask.lease, cancels
                state.at = ask.order(now)
            elif gate.kind is Kind.RATE_LIMIT:
                state.starts.setdefault(ask.run, now)

    def _start(self, ask: Ask, go: Go, now: float) -> None:
        known = self._passes.setdefault(ask.run, MemoryPass())
        self._forsake(ask, known, now)
        at = now + go.wait
        for gate in ask.gates:
            state, is_reserved = self._gate_of(ask.task, gate), self._is_reserved(ask, gate, now)
            numbers = self._numbers(GateId(ask.task, gate.name))
            if gate.kind is Kind.CONCURRENCY:
                state.take(ask.run, ask.token, now + ask.lease, numbers.limit, now)
                if state.lanes:
                    state.due = min(state.due or math.inf, now + ask.lease)
            elif gate.kind is Kind.THROTTLE and not ask.goes_on:
                state.tat = max(state.tat, at) + interval(numbers)
                if not is_reserved:
                    state.paced = max(state.paced, at) + interval(numbers)
            elif gate.kind is Kind.SINGLETON:
                if state.mark != ask.run:
                    state.before, state.at = None, ask.order(now)
                state.mark, state.until = ask.run, now + ask.lease
        self._leave(ask.run)
        known.let, known.since, known.score, known.lane = 0.0, None, 0.0, None

    def _forsake(self, ask: Ask, known: MemoryPass, now: float) -> None:
        """Give back what is reserved at gates that a run was held for, and asks no more."""
        asked = {GateId(ask.task, gate.name, gate.key) for gate in ask.gates}
        for gate in known.gates if known.since is not None else ():
            id = GateId(ask.task, gate.name, gate.key)
            if gate.kind is Kind.CONCURRENCY and id not in asked:
                self._gates[id].leave(ask.run, "")
                if self._gates[id].lanes:
                    self._gates[id].due = min(self._gates[id].due or math.inf, now)

    def _pass_debounce(self, ask: Ask, admission: Admission) -> None:
        """Let a run go that has waited for a debounce, unless it still does."""
        known = self._passes.setdefault(ask.run, MemoryPass())
        for gate in ask.gates:
            if gate.kind is not Kind.DEBOUNCE or known.has_passed or ask.goes_on:
                continue
            if isinstance(admission, Later) and admission.gate == gate.name:
                continue
            state = self._gate_of(ask.task, gate)
            if state.waiting and state.waiting[1] == ask.run:
                state.gone, state.waiting = state.waiting, None
            known.has_passed, known.debounce = True, None

    def _compare(self, id: GateId, before: Gate | None) -> None:
        """Let all gates of a limit be drained if its numbers let more through than before."""
        if before is not None and opens(before, self._numbers(id)):
            self._reopen(id)

    def _reopen(self, id: GateId) -> None:
        """Let all gates of a limit be drained."""
        if any((each.task, each.name) == (id.task, id.name) for each in self._blocked()):
            self._limits[id.task].reopened.setdefault(id.name, self.clock())
            self._ring()

    def _reopen_door(self, task: str) -> None:
        """Let those go on who wait because their function was paused."""
        door, now = self._gates[GateId(task, PAUSE)], self.clock()
        if door.lanes:
            door.due = now if door.due is None else min(door.due, now)
            self._ring()


def lane_of(ask: Ask) -> Lane:
    """Return the lane in which a run waits."""
    names = [
        GateId(ask.task, gate.name, gate.key)
        for gate in ask.gates
        if gate.kind is Kind.CONCURRENCY or (gate.kind is Kind.THROTTLE and not ask.goes_on)
    ]
    return Lane(ask.task, tuple(names))


def _counts(gate: Gate, ask: Ask, *, is_first: bool, has_passed: bool) -> bool:
    """Whether a gate is asked: some only once, and only concurrency after a wait at a step."""
    if gate.kind in _ONCE:
        return is_first
    if gate.kind is Kind.DEBOUNCE:
        return not has_passed and not ask.goes_on
    return gate.kind is not Kind.THROTTLE or not ask.goes_on
