"""The lines of the memory store: who waits for which gate, and who is let through next."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable

from celery_defer.flow import Gate, Kind
from celery_defer.flow.decide import AHEAD, PAUSE, in_force, interval, patience, ready, with_reserve
from celery_defer.ids import RunId
from celery_defer.store.memory.gates import GateId, Lane, MemoryGate, MemoryLane
from celery_defer.store.memory.history import MemoryHistories
from celery_defer.store.values import HELD_STEP, Leased

#: How many gates are drained at a time.
_MOST_GATES = 1_000
#: A limit that its function has no more: it holds nobody back.
_GONE = Gate(Kind.IDEMPOTENCY, "", limit=sys.maxsize)


class MemoryLines(MemoryHistories):
    """Keeps runs in lanes, and each lane at one gate that blocks it."""

    def drain(self, now: float, until: float, limit: int) -> list[Leased]:
        with self._lock:
            self._spread(now)
            due = sorted(
                (gate.due, id.task, id.name, id.key)
                for id, gate in self._gates.items()
                if gate.due is not None and gate.due <= now
            )
            leased: list[Leased] = []
            for _, *id in due[:_MOST_GATES]:
                if len(leased) >= limit:
                    break
                leased += self._drain(GateId(*id), now, until, limit - len(leased))
            return leased

    def flow_due(self) -> float | None:
        with self._lock:
            return min(self._drains(), default=None)

    def _drains(self) -> list[float]:
        """Return when gates are to be drained."""
        times = [gate.due for gate in self._gates.values() if gate.due is not None]
        return times + [at for each in self._limits.values() for at in each.reopened.values()]

    def _blocked(self) -> list[GateId]:
        return [id for id, gate in self._gates.items() if gate.lanes]

    def _spread(self, now: float) -> None:
        """Let each gate be drained of limits that let more through than before."""
        for id in self._blocked():
            gate, at = self._gates[id], self._limits[id.task].reopened.get(id.name, math.inf)
            if at <= now:
                gate.due = at if gate.due is None else min(gate.due, at)
        for limits in self._limits.values():
            limits.reopened = {name: at for name, at in limits.reopened.items() if at > now}

    def _enter(self, run: RunId, lane: Lane, score: float) -> None:
        """Let a run stand in its lane; a lane that was empty comes to the door."""
        if lane not in self._lanes:
            door = GateId(lane.task, PAUSE)
            self._lanes[lane] = MemoryLane(door)
            self._gates[door].lanes.append(lane)
        self._lanes[lane].runs[run] = score

    def _leave(self, run: RunId) -> None:
        """Take a run out of its lane; an empty lane is removed when it is its turn."""
        known = self._passes.get(run)
        if known and known.lane in self._lanes:
            self._lanes[known.lane].runs.pop(run, None)

    def _drain_all(
        self, ids: Iterable[GateId], now: float, until: float, limit: int
    ) -> list[Leased]:
        leased: list[Leased] = []
        for id in ids:
            leased += self._drain(id, now, until, limit - len(leased))
        return leased

    def _drain(self, id: GateId, now: float, until: float, limit: int) -> list[Leased]:
        """Let through who waits for a gate, from each lane in turn, until the gate blocks."""
        gate, leased = self._gates[id], list[Leased]()
        gate.due = None
        while gate.lanes:
            if len(leased) >= limit:
                gate.due = now
                break
            lane = gate.lanes.popleft()
            run = self._head(lane)
            if run is None:
                del self._lanes[lane]
                continue
            blocking, due = self._blocking(lane, now)
            if blocking == id:
                gate.lanes.appendleft(lane)
                gate.due = due
                break
            if blocking is None:
                blocking = id
                leased.append(self._let(run, lane, now, until))
            elif due is not None:
                other = self._gates[blocking]
                other.due = due if other.due is None else min(other.due, due)
            self._lanes[lane].at = blocking
            self._gates[blocking].lanes.append(lane)
        return leased

    def _head(self, lane: Lane) -> RunId | None:
        """Return the first run of a lane; those whose record is gone are forgotten."""
        runs = self._lanes[lane].runs
        for run in self._lanes[lane].in_order():
            record = self._outbox.get(run)
            if record and record.step == HELD_STEP and not record.is_cancelled:
                return run
            del runs[run]
        return None

    def _blocking(self, lane: Lane, now: float) -> tuple[GateId | None, float | None]:
        """Return the gate that blocks a lane, and when it may not any more."""
        if self._limits[lane.task].is_paused:
            return GateId(lane.task, PAUSE), None
        for id in lane.gates:
            gate, numbers = self._gates[id], self._numbers(id)
            if numbers.kind is Kind.CONCURRENCY and gate.used(now) >= numbers.limit:
                return id, min((end for end in gate.places.values() if end > now), default=None)
            if numbers.kind is Kind.THROTTLE:
                at = ready(numbers, gate.paced)
                if at > now + AHEAD:
                    return id, None if at == math.inf else at - AHEAD / 2
        return None, None

    def _let(self, run: RunId, lane: Lane, now: float, until: float) -> Leased:
        """Reserve places for a run, and lease its record."""
        limits = self._limits[lane.task]
        ends = now + patience(limits.lease, self._outbox[run].tries)
        for id in lane.gates:
            gate, numbers = self._gates[id], self._numbers(id)
            if numbers.kind is Kind.CONCURRENCY:
                gate.take(run, "", ends, numbers.limit, now)
            elif numbers.kind is Kind.THROTTLE:
                gate.paced = max(gate.paced, now - AHEAD) + interval(numbers)
        self._passes[run].let = ends
        del self._lanes[lane].runs[run]
        return self._lease(run, until, now)

    def _numbers(self, id: GateId) -> Gate:
        """Return a limit with its numbers in force."""
        limits = self._limits[id.task]
        return self._paced(
            in_force(limits.gates.get(id.name, _GONE), limits.overrides.get(id.name))
        )

    def _paced(self, gate: Gate) -> Gate:
        return with_reserve(gate)

    def _gate_of(self, task: str, gate: Gate) -> MemoryGate:
        return self._gates[GateId(task, gate.name, gate.key)]
