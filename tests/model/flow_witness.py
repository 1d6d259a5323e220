"""What may never happen to runs with limits, counted without a store."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from celery_defer.flow import Admission, Ask, Drop, Gate, Go, Kind, Later
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
    #: Which run has come last, by singleton.
    marked: dict[Place, str] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    #: When somebody was let through last, by throttle.
    paced: dict[Place, float] = field(default_factory=dict)

    @property
    def now(self) -> float:
        return self.world.now

    def limit_is(self, limited: tuple[str, str], limit: int | None) -> None:
        """A limit is changed; who was let through before starts beside those that it lets start."""
        self.limits.pop(limited, None)
        if limit is not None:
            self.limits[limited] = limit
        for _, limits in self.reserved.values():
            for place in limits:
                limits[place] = max(limits[place], self._limit(place))

    def admitted(self, ask: Ask, admission: Admission) -> None:
        if isinstance(admission, Drop):
            self._check_drop(ask, admission)
            return
        for gate in ask.gates:
            if gate.kind is Kind.RATE_LIMIT and ask.run not in self.arrived | self.dropped:
                self._check_rate(ask, gate)
        self._check_singleton(ask, admission)
        self.arrived.add(ask.run)
        if isinstance(admission, Go):
            self._starts(ask, admission)

    def begins(self, ask: Ask) -> None:
        """A body begins: whoever has its singleton has ended, or was cancelled.

        But if a worker died before it could cancel one, a third run does not know of that one.
        """
        for gate in ask.gates:
            if gate.kind is Kind.SINGLETON:
                bodies = self._of((ask.task, gate.name, gate.key))
                others = {each.ask.run for each in bodies} - {ask.run, *self.world.unsaid.values()}
                assert others <= set(self.world.over), (ask, others)

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
        others = self._in_line(self.world.runs[run].task, lane)
        assert all((since, run) < (self.since[each], each) for each in others), (run, others)
        self.paced |= dict.fromkeys(lane, self.now)
        lasts = min(2 * LEASE * 2.0 ** (tries - 1), 3_600.0)
        self.reserved[run] = self.now + lasts, {place: self._limit(place) for place in lane}

    def cancels(self, run: str, by: str) -> None:
        """A run cancels one that was deferred no later."""
        assert run != by
        assert self.world.runs[run].at <= self.world.runs[by].at, (run, by)

    def ended(self, run: str) -> None:
        for each in (self.since, self.lanes, self.reserved):
            each.pop(run, None)

    def check_nobody_waits_in_vain(self) -> None:
        """After draining: whoever waits is held back by a gate that is full, or by the time."""
        for run, lane in self.lanes.items():
            task = self.world.runs[run].task
            if task in self.world.paused:
                continue
            assert any(self._is_closed(place) for place in lane), (run, lane)

    def _starts(self, ask: Ask, go: Go) -> None:
        self.lanes.pop(ask.run, None)
        self.since.pop(ask.run, None)
        until, limits = self.reserved.pop(ask.run, (0.0, {}))
        lane = lane_of(ask)
        if until <= self.now or set(limits) != set(lane):
            assert self._in_line(ask.task, lane) == [], f"{ask} passes others"
        for gate in ask.gates:
            place = (ask.task, gate.name, gate.key)
            if gate.kind is Kind.CONCURRENCY:
                limit = max(self._limit(place), limits.get(place, 0) if until > self.now else 0)
                live = [each for each in self._of(place) if each.ask.token != ask.token]
                assert len(live) < limit, (ask, live)
            if gate.kind is Kind.THROTTLE and not ask.goes_on:
                times = self.starts[place]
                times.append(self.now + go.wait)
                window = [at for at in times if at > times[-1] - gate.period + 1e-6]
                assert len(window) <= gate.limit + gate.burst - 1, (ask, window)

    def _check_drop(self, ask: Ask, drop: Drop) -> None:
        """A singleton drops a run only for one that is in progress; to cancel, for a later one."""
        (gate,) = (each for each in ask.gates if each.name == drop.gate)
        if gate.kind is Kind.SINGLETON and drop.by and ask.run not in self.dropped:
            assert drop.by not in set(self.world.over) - self.world.redelivered, (ask, drop)
            if gate.cancels and ask.run not in self.arrived:
                assert self.world.runs[drop.by].at > self.world.runs[ask.run].at, (ask, drop)
        self.dropped.add(ask.run)

    def _check_singleton(self, ask: Ask, admission: Go | Later) -> None:
        """A run whose worker died before it had cancelled the earlier one does so when it comes."""
        for gate in ask.gates:
            if gate.kind is Kind.SINGLETON:
                place = (ask.task, gate.name, gate.key)
                earlier = self.world.unsaid.get(ask.run)
                if earlier and self.marked.get(place) == ask.run and not ask.goes_on:
                    assert earlier in {admission.cancels, *self.world.over}, (ask, admission)
                if isinstance(admission, Go) or ask.run not in self.arrived:
                    self.marked[place] = ask.run

    def _check_rate(self, ask: Ask, gate: Gate) -> None:
        times = self.starts[ask.task, gate.name, gate.key]
        times.append(self.now)
        assert sum(at > self.now - gate.period for at in times) <= gate.limit

    def _in_line(self, task: str, lane: tuple[Place, ...]) -> list[str]:
        runs = self.world.runs
        return [run for run, each in self.lanes.items() if each == lane and runs[run].task == task]

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
