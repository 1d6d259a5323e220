"""What may never happen to runs with limits, counted without a store."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from celery_defer.flow import Admission, Ask, Drop, Gate, Go, Kind
from tests.model.flow_world import LEASE, Delivery, FlowWorld

__all__ = ["Witness"]

Place = tuple[str, str, str]


@dataclass
class Witness:
    """Sees who starts, who waits and who is let through."""

    #: The limits of functions as declared, and as they are overridden.
    gates: dict[tuple[str, str], Gate]
    limits: dict[tuple[str, str], int] = field(default_factory=dict)
    world: FlowWorld = field(init=False)
    #: When runs have started, by task and gate.
    starts: defaultdict[Place, list[float]] = field(default_factory=lambda: defaultdict(list))
    #: By run: when it came into its line, with its priority; and in which lane it stands.
    since: dict[str, float] = field(default_factory=dict)
    lanes: dict[str, tuple[Place, ...]] = field(default_factory=dict)
    #: Which runs were let through, until when their places wait for them.
    reserved: dict[str, tuple[float, dict[Place, int]]] = field(default_factory=dict)
    arrived: set[str] = field(default_factory=set)
    #: When somebody was let through last, by throttle.
    paced: dict[Place, float] = field(default_factory=dict)

    @property
    def now(self) -> float:
        return self.world.now

    def admitted(self, ask: Ask, admission: Admission) -> None:
        if isinstance(admission, Drop):
            return
        for gate in ask.gates:
            if gate.kind is Kind.RATE_LIMIT and ask.run not in self.arrived:
                self._check_rate(ask, gate)
        self.arrived.add(ask.run)
        if isinstance(admission, Go):
            self._starts(ask, admission)

    def arrives(self, ask: Ask) -> None:
        self.since.setdefault(ask.run, self.now - ask.priority)
        self.lanes[ask.run] = lane_of(ask)
        self.reserved.pop(ask.run, None)

    def leaves_line(self, run: str) -> None:
        """A run waits for the time of a debounce, and in no line."""
        self.lanes.pop(run, None)

    def let(self, run: str, tries: int) -> None:
        """A run is let through: nobody with its keys has waited for longer."""
        lane, since = self.lanes.pop(run), self.since[run]
        others = [each for each, other in self.lanes.items() if other == lane]
        assert all((since, run) < (self.since[each], each) for each in others), (run, others)
        self.paced |= dict.fromkeys(lane, self.now)
        lasts = min(2 * LEASE * 2.0 ** (tries - 1), 3_600.0)
        self.reserved[run] = self.now + lasts, {place: self._limit(place) for place in lane}

    def ended(self, run: str) -> None:
        for each in (self.since, self.lanes, self.reserved):
            each.pop(run, None)

    def check_nobody_waits_in_vain(self) -> None:
        """After draining: whoever waits is held back by a gate that is full, or by the time."""
        for run, lane in self.lanes.items():
            task = self.world.runs[run][0]
            if task in self.world.paused:
                continue
            assert any(self._is_closed(place) for place in lane), (run, lane)

    def _starts(self, ask: Ask, go: Go) -> None:
        self.lanes.pop(ask.run, None)
        self.since.pop(ask.run, None)
        until, limits = self.reserved.pop(ask.run, (0.0, {}))
        for gate in ask.gates:
            place = (ask.task, gate.name, gate.key)
            if gate.kind is Kind.CONCURRENCY:
                limit = max(self._limit(place), limits.get(place, 0) if until > self.now else 0)
                live = [each for each in self._of(place) if each.ask.run != ask.run]
                assert len(live) < limit, (ask, live)
            if gate.kind is Kind.THROTTLE and not ask.goes_on:
                times = self.starts[place]
                times.append(self.now + go.wait)
                window = [at for at in times if at > times[-1] - gate.period + 1e-6]
                assert len(window) <= gate.limit + gate.burst - 1, (ask, window)
            if gate.kind is Kind.SINGLETON and not gate.cancels:
                others = [each.ask.run for each in self._of(place) if each.ask.run != ask.run]
                assert others == [], (ask, others)

    def _check_rate(self, ask: Ask, gate: Gate) -> None:
        times = self.starts[ask.task, gate.name, gate.key]
        times.append(self.now)
        assert sum(at > self.now - gate.period for at in times) <= gate.limit

    def _limit(self, place: Place) -> int:
        task, name, _ = place
        return self.limits.get((task, name), self.gates[task, name].limit)

    def _of(self, place: Place, *, lost: bool = False) -> list[Delivery]:
        """Return the bodies in progress whose places have not run out."""
        return [
            each
            for each in [*self.world.working, *(self.world.ghosts if lost else ())]
            if each.ends > self.now
            and place in [(each.ask.task, gate.name, gate.key) for gate in each.ask.gates]
        ]

    def _is_closed(self, place: Place) -> bool:
        if self.gates[place[:2]].kind is Kind.THROTTLE:
            last = max(self.starts.get(place, [0.0])[-1], self.paced.get(place, 0.0))
            return any(place in limits for _, limits in self.reserved.values()) or (
                self.now < last + self.gates[place[:2]].period + 1
            )
        reserved = sum(
            until > self.now and place in limits for until, limits in self.reserved.values()
        )
        return len(self._of(place, lost=True)) + reserved >= self._limit(place)


def lane_of(ask: Ask) -> tuple[Place, ...]:
    """Return the gates at which a run waits in line."""
    return tuple(
        (ask.task, gate.name, gate.key)
        for gate in ask.gates
        if gate.kind is Kind.CONCURRENCY or (gate.kind is Kind.THROTTLE and not ask.goes_on)
    )
