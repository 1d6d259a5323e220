"""What the events of a soak prove: what the package answers for, and what Celery does itself.

A deferred run that was published and never ran to its end is Celery's or kombu's loss: an
early-acknowledged message in a killed process, or one that kombu had popped from Redis and
not yet noted. So is a second run of one message that was redelivered. All else is ours.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from tests.worker.soak.events import Deferred, Event, Plan

__all__ = ["State", "Verdict", "judge"]


@dataclass(frozen=True, slots=True)
class State:
    """What the result backend says of a run."""

    name: str = "PENDING"
    error: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.error})" if self.error else self.name

    @property
    def is_loss(self) -> bool:
        """Whether this tells only that a process was killed."""
        return self.error == "WorkerLostError"


@dataclass
class Verdict:
    """The counts of a soak, and the ids of what must not be."""

    violations: list[str] = field(default_factory=list)
    parents: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)


def judge(
    sent: Mapping[str, Plan],
    events: Iterable[Event],
    states: Mapping[str, State],
    killed: Collection[int],
) -> Verdict:
    """Hold every parent in *sent*, and what it deferred, to the rules of exactly-once."""
    histories: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        histories[event.id].append(event)
    court = _Court(histories, states, killed)
    for id, plan in sent.items():
        court.verdict.parents[_ended(plan, states.get(id, State()))] += 1
        court.judge_calls(id, plan)
    court.judge_strangers()
    return court.verdict


def _ended(plan: Plan, state: State) -> str:
    return "no result kept" if plan.kind == "quiet" else str(state)


@dataclass
class _Court:
    histories: Mapping[str, list[Event]]
    states: Mapping[str, State]
    killed: Collection[int]
    verdict: Verdict = field(default_factory=Verdict)
    known: set[str] = field(default_factory=set)

    def judge_calls(self, parent: str, plan: Plan) -> None:
        """Which calls of a run are published, by how the run has ended; then each of these."""
        required, allowed = self._due(parent, plan)
        there = {call.id for call in plan.calls if self._all(call.run_of(parent), "published")}
        doubtful = [call.id for call in plan.calls if call.when in allowed - required]
        if 0 < len(there.intersection(doubtful)) < len(doubtful):
            self._violated(parent, f"some of its calls are published, some not: {doubtful}")
        for call in plan.calls:
            self.known.add(call.run_of(parent))
            if call.id not in there and call.when in required:
                self.verdict.runs["never published"] += 1
                self._violated(parent, f"{call.id} was never published")
            if call.id in there and call.when not in allowed:
                self._violated(parent, f"{call.id} is published, which must not be")
            if call.id in there:
                self._judge_run(call, call.run_of(parent))

    def judge_strangers(self) -> None:
        for id, history in self.histories.items():
            if id not in self.known and self._all(id, "published"):
                self._violated(id, f"nobody deferred it: {history}")

    def _due(self, id: str, plan: Plan) -> tuple[set[str], set[str]]:
        """The kinds of calls that must be published, and those that may."""
        good, bad = {"success", "always"}, {"failure", "always"}
        state = self.states.get(id, State())
        if plan.kind == "quiet":
            # Its body's end alone decides; killed after that, but before it was staged, none is.
            if plan.ending == "fail":
                return set(), bad if self._all(id, "raise") else set()
            return good if self._all(id, "success") else set(), (
                good if self._all(id, "done") else set()
            )
        if state.name == "SUCCESS":
            return good, good
        if state.name == "FAILURE":
            return (set(), bad) if state.is_loss else (bad, bad)
        return set(), set()

    def _judge_run(self, call: Deferred, id: str) -> None:
        """That a published run has started from one message alone, and what became of it."""
        starts = self._all(id, "start")
        fresh = [start for start in starts if not start.again]
        if len({start.token for start in starts}) > 1:
            self._violated(id, f"{call.id} was started by two publications: {starts}")
        if len(fresh) > 1:
            self._violated(id, f"{call.id} was started by a message and its double: {starts}")
        self.verdict.runs[self._fate(call, id, bool(starts))] += 1
        self.judge_calls(id, call.plan)

    def _fate(self, call: Deferred, id: str, has_started: bool) -> str:
        ends = self._all(id, "raise" if call.plan.ending == "fail" else "done")
        if len(ends) == 1:
            return "completed once"
        if ends:
            return "run again by Celery, redelivered"
        if has_started:
            return "killed in its body, by Celery's rules"
        received = self._all(id, "received")
        if not received:
            return "lost in kombu, popped by a killed worker"
        if not self._was_killed(call, id, received):
            self._violated(id, f"{call.id} was received and never started: {self.histories[id]}")
        return "killed between receipt and body"

    def _was_killed(self, call: Deferred, id: str, received: list[Event]) -> bool:
        if any(event.pid in self.killed for event in received):
            return True
        return call.plan.kind == "quiet" or self.states.get(id, State()).is_loss

    def _all(self, id: str, kind: str) -> list[Event]:
        return [event for event in self.histories.get(id, ()) if event.kind == kind]

    def _violated(self, id: str, what: str) -> None:
        self.verdict.violations.append(f"{id} ({self.states.get(id, State())}): {what}")
