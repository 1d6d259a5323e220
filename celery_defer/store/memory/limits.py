"""How the gates of the memory store stand, for those who look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from celery_defer.ids import RunId
from celery_defer.store.memory.asking import MemoryAsking
from celery_defer.store.memory.gates import GateId
from celery_defer.store.values import FlowState, InLine, LimitState


class MemoryLimitStates(MemoryAsking):
    """Changes limits, and says how they stand."""

    def set_limit(self, task: str, name: str, numbers: Mapping[str, float] | None) -> None:
        with self._lock:
            overrides, id = self._limits[task].overrides, GateId(task, name)
            before = self._numbers(id) if name in self._limits[task].gates else None
            earlier = overrides.pop(name, {})
            if numbers is not None:
                overrides[name] = {**earlier, **numbers}
            self._compare(id, before)

    def pause(self, task: str, *, is_paused: bool) -> None:
        with self._lock:
            self._limits[task].is_paused = is_paused
            if not is_paused:
                self._reopen_door(task)

    def keep_limits(self, names: Mapping[str, Sequence[str]]) -> None:
        with self._lock:
            for task, kept in names.items():
                limits = self._limits[task]
                for name in {*limits.gates, *limits.overrides} - {*kept}:
                    limits.gates.pop(name, None)
                    limits.overrides.pop(name, None)
                    self._reopen(GateId(task, name))
                if limits.is_paused and not kept:
                    limits.is_paused = False
                    self._reopen_door(task)

    def flow(self, tasks: Sequence[str]) -> list[FlowState]:
        with self._lock:
            return [self._flow(task) for task in tasks]

    def in_line(self, runs: Sequence[RunId]) -> list[InLine | None]:
        with self._lock:
            return [self._in_line(run) for run in runs]

    def _flow(self, task: str) -> FlowState:
        limits = self._limits[task]
        lanes = (lane for id, lane in self._lanes.items() if id.task == task)
        debounces = (gate for id, gate in self._gates.items() if id.task == task)
        held = sum(len(lane.runs) for lane in lanes)
        held += sum(gate.waiting is not None for gate in debounces)
        return FlowState(task, limits.is_paused, held, tuple(self._states(task)))

    def _states(self, task: str) -> Iterator[LimitState]:
        now, limits = self.clock(), self._limits[task]
        for name in sorted({*limits.gates, *limits.overrides}):
            own = [gate for id, gate in self._gates.items() if (id.task, id.name) == (task, name)]
            override, gate = limits.overrides.get(name), limits.gates.get(name)
            asked = (gate.limit, gate.period, gate.burst) if gate else (0, 0.0, 0)
            numbers = dict(zip(("limit", "period", "burst"), asked, strict=True)) | (override or {})
            yield LimitState(
                name,
                int(numbers["limit"]),
                numbers["period"],
                int(numbers["burst"]),
                override,
                sum(gate.used(now) for gate in own),
                sum(bool(gate.lanes) for gate in own),
            )

    def _in_line(self, run: RunId) -> InLine | None:
        known = self._passes.get(run)
        if known is None or known.since is None:
            return None
        if known.debounce:
            return InLine(known.debounce.name, known.debounce.key, 0, known.since)
        lane = self._lanes.get(known.lane) if known.lane else None
        if lane is None or run not in lane.runs:
            return None
        place = lane.in_order().index(run) + 1
        return InLine(lane.at.name, lane.at.key, place, known.since)
