"""The gates of the memory store: who is held back, and who gives places back."""

from __future__ import annotations

from collections.abc import Sequence

from celery_defer.commands import Commands
from celery_defer.flow import Ask, Drop, Gate, Go, Kind, Later
from celery_defer.flow.decide import PAUSE
from celery_defer.ids import RunId
from celery_defer.store.history import Fact
from celery_defer.store.memory.asking import lane_of
from celery_defer.store.memory.gates import GateId, MemoryPass
from celery_defer.store.memory.limits import MemoryLimitStates
from celery_defer.store.memory.state import MemoryRecord, MemoryRun
from celery_defer.store.memory.watch import MemoryWatching
from celery_defer.store.owner import is_of_one_message
from celery_defer.store.values import HELD_STEP, Giving, Held, Hold, Holding, Leased, in_place_of

#: How many runs one that is held back may let through.
_MOST = 10
#: Has the mark of a singleton after its run has ended, so that nobody takes that for lost.
_NOBODY = RunId("")


class MemoryFlow(MemoryLimitStates, MemoryWatching):
    """Lets runs wait in line, and those who wait go on."""

    def hold(
        self,
        ask: Ask,
        holding: Holding,
        *,
        now: float,
        until: float,
        keep: float,
        report: Commands | None = None,
        facts: Sequence[Fact] = (),
    ) -> Held:
        with self._lock:
            run = self._runs[ask.run]
            is_others = run.owner is not None and not is_of_one_message(run.owner, ask.token)
            if run.turn != holding.turn or is_others:
                return Held(None)
            admission = self._decide(ask, now, is_first=False, is_woken=run.turn > 0)
            if isinstance(admission, Drop):
                return Held(admission)
            lane = lane_of(ask)
            if isinstance(admission, Go):
                first = lane.gates[0] if lane.gates else GateId(ask.task, PAUSE)
                admission = Later(first.name, first.key)
            known = self._pass_of(ask, now)
            replaced, left = None, b""
            if not run.is_cancelled:
                replaced = self._wait_for_debounce(ask, admission, now)
                if replaced is not None:
                    why = in_place_of(ask.run)
                    left = self._cancel(replaced, why, until, until) or b""
                self._pass_debounce(ask, admission)
            due = now + (admission.due or 0.0) if known.debounce else holding.due
            self._keep_held(ask.run, run, holding, now if run.is_cancelled else due, now + keep)
            self._note(facts)
            self._leave(ask.run)
            if not known.debounce and not run.is_cancelled:
                known.lane = lane
                self._enter(ask.run, lane, known.score)
            leased = self._drain_all((GateId(ask.task, PAUSE), *lane.gates), now, until, _MOST)
            self._ring()
            return Held(admission, replaced, tuple(leased), left=left)

    def give_back(
        self,
        run: RunId,
        task: str,
        gates: Sequence[Gate],
        token: str | None,
        *,
        ended: bool,
        idle: float = 0.0,
        now: float,
        until: float,
        limit: int,
    ) -> list[Leased]:
        with self._lock:
            known = self._passes.get(run, MemoryPass())
            all_gates = dict.fromkeys((*gates, *known.gates))
            for each in all_gates:
                gate = self._gate_of(task, each)
                gate.leave(run, token)
                if each.kind is Kind.SINGLETON and gate.mark == run:
                    gate.mark = _NOBODY if ended else run
                    gate.until = 0.0 if ended else now + idle + self._limits[task].lease
                if ended and gate.before == run:
                    gate.before = None
                if ended and gate.waiting and gate.waiting[1] == run:
                    gate.waiting = None
            if ended:
                record = self._outbox.get(run)
                if record and record.step == HELD_STEP:  # by another delivery
                    del self._outbox[run]
                state = self._runs[run]
                if state.turn and state.owner is None:  # a wake-up may be on its way
                    state.owner = "ended"
                self._leave(run)
                self._passes.pop(run, None)
            ids = [GateId(task, each.name, each.key) for each in all_gates]
            return self._drain_all(ids, now, until, limit)

    def giving(self, hold: Hold, *, now: float, until: float, limit: int) -> Giving | None:
        return None

    def renew(self, holds: Sequence[Hold], lease: float) -> list[Hold]:
        with self._lock:
            return [hold for hold in holds if not self._renew(hold, self.clock(), lease)]

    def _pass_of(self, ask: Ask, now: float) -> MemoryPass:
        """Return what is known of a run that is to be held back; it has no places any more."""
        known = self._passes.setdefault(ask.run, MemoryPass())
        self._forsake(ask, known, now)
        for gate in ask.gates:
            self._gate_of(ask.task, gate).leave(ask.run, ask.token)
        known.gates, known.let = ask.gates, 0.0
        if known.since is None:
            known.since, known.score = now, now - ask.priority
        return known

    def _keep_held(
        self, id: RunId, run: MemoryRun, holding: Holding, due: float, expires: float
    ) -> None:
        run.turn, run.owner = run.turn + 1, None
        run.ending = holding.ending or run.ending
        self._outbox[id] = MemoryRecord(
            holding.token,
            holding.body,
            due,
            step=HELD_STEP,
            is_cancelled=run.is_cancelled,
            expires=expires,
        )

    def _wait_for_debounce(self, ask: Ask, admission: Later, now: float) -> RunId | None:
        """Let a run wait if a debounce holds it back; return the one that it replaces."""
        gate = next((each for each in ask.gates if each.kind is Kind.DEBOUNCE), None)
        if gate is None or admission.gate != gate.name:
            return None
        state = self._gate_of(ask.task, gate)
        other = state.waiting[1] if state.waiting and state.waiting[1] != ask.run else None
        if state.waiting is None:
            state.first = now
        if other is not None:
            self._passes.pop(other, None)
        state.waiting = (ask.order(now), ask.run)
        self._passes[ask.run].debounce = GateId(ask.task, gate.name, gate.key)
        return other

    def _renew(self, hold: Hold, now: float, lease: float) -> bool:
        """Keep the places of a delivery; return whether it has all of them."""
        has_all = True
        for each in hold.gates:
            gate, place = self._gate_of(hold.task, each), (hold.run, hold.token)
            if each.kind is Kind.CONCURRENCY:
                limit = self._numbers(GateId(hold.task, each.name)).limit
                is_free = gate.used(now, but=hold.run, token=hold.token) < limit
                ends = gate.places.pop(place, None)
                if ends is not None and (ends > now or is_free):
                    gate.places[place] = now + lease
                else:
                    has_all = False
            elif each.kind is Kind.SINGLETON and gate.mark in {hold.run, None}:
                gate.at = gate.at if gate.mark else 0.0
                gate.mark, gate.until = hold.run, now + lease
            elif each.kind is Kind.SINGLETON and not each.cancels:
                has_all = False
        return has_all
