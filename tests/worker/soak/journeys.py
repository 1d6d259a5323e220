"""Runs with steps under fire: what they are to do, and what must have come of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from pydantic import BaseModel

from tests.worker.soak.events import Event
from tests.worker.soak.verdict import State

__all__ = ["EVENT", "LOST", "Journey", "JourneyVerdict", "Leg", "draw_journey", "judge_journeys"]

#: What the runs wait for, each for one with its own id and leg.
EVENT = "soak/news"
LOST = "lost in kombu, popped by a killed worker"


class Leg(BaseModel):
    """A part of a journey: a step, a nap, or a wait for an event that may never be sent."""

    kind: Literal["step", "sleep", "wait"]
    seconds: float = 0


class Journey(BaseModel):
    """What a run with steps is to do."""

    legs: list[Leg]

    def waits(self) -> Iterator[int]:
        return (number for number, leg in enumerate(self.legs) if leg.kind == "wait")


def draw_journey(random: Random) -> Journey:
    """Draw one to five legs; no wait is longer than a second and a half."""
    kinds: list[Literal["step", "sleep", "wait"]] = ["step", "step", "sleep", "wait"]
    drawn = random.choices(kinds, k=random.randint(1, 5))
    return Journey(legs=[Leg(kind=kind, seconds=random.uniform(0.05, 1.5)) for kind in drawn])


@dataclass
class JourneyVerdict:
    """The counts of the runs with steps, and what must not be."""

    violations: list[str] = field(default_factory=list)
    runs: Counter[str] = field(default_factory=Counter)


def judge_journeys(
    sent: Mapping[str, Journey],
    events: Iterable[Event],
    states: Mapping[str, State],
    woken: Mapping[tuple[str, int], int],
) -> JourneyVerdict:
    """Hold every run in *sent* to its end; *woken* says what senders were answered."""
    histories: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.id in sent:
            histories[event.id].append(event)
    court = _Court(histories, states)
    for id, journey in sent.items():
        court.judge(id, journey)
    for (id, leg), count in woken.items():
        court.judge_sender(id, leg, count)
    return court.verdict


@dataclass
class _Court:
    histories: Mapping[str, list[Event]]
    states: Mapping[str, State]
    verdict: JourneyVerdict = field(default_factory=JourneyVerdict)

    def judge(self, id: str, journey: Journey) -> None:
        fate = self._fate(id)
        self.verdict.runs[fate] += 1
        self._judge_turns(id)
        self._judge_waits(id)
        for number, leg in enumerate(journey.legs):
            if leg.kind == "step":
                self._judge_step(id, number, has_ended=fate != LOST)

    def judge_sender(self, id: str, leg: int, woken: int) -> None:
        """An event counts once for one wait, and whoever sent it was told the truth."""
        got = {event.token for event in self._all(id, "got") if event.leg == leg}
        if woken > 1:
            self._violated(id, f"leg {leg} was woken by {woken} events")
        if woken and got == {"nothing"}:
            self._violated(id, f"leg {leg} was woken by an event, and received nothing")

    def _fate(self, id: str) -> str:
        ends = self._all(id, "done")
        if len([end for end in ends if not end.again]) > 1:
            self._violated(id, f"its body ended twice: {ends}")
        if self.states.get(id, State()).name == "SUCCESS" and ends:
            return "completed once" if len(ends) == 1 else "run again by Celery, redelivered"
        if self._last_was_never_received(id):
            return LOST
        self._violated(id, f"it has not ended: {self.histories.get(id)}")
        return "not ended"

    def _last_was_never_received(self, id: str) -> bool:
        received = {event.token for event in self._all(id, "received")}
        published = [event.token for event in self._all(id, "published")]
        return not received or (bool(published) and published[-1] not in received)

    def _judge_turns(self, id: str) -> None:
        """Each turn is begun by one publication, and by one delivery unless Celery redelivers."""
        turns: defaultdict[int, list[Event]] = defaultdict(list)
        for start in self._all(id, "start"):
            turns[start.leg].append(start)
        for turn, starts in turns.items():
            if len({start.token for start in starts}) > 1:
                self._violated(id, f"turn {turn} was begun by two publications: {starts}")
            if len([start for start in starts if not start.again]) > 1:
                self._violated(id, f"turn {turn} was begun by a message and its double: {starts}")

    def _judge_waits(self, id: str) -> None:
        got: defaultdict[int, set[str]] = defaultdict(set)
        for event in self._all(id, "got"):
            got[event.leg].add(event.token)
        for leg, tokens in got.items():
            self.verdict.runs[f"wait: {'nothing' if tokens == {'nothing'} else 'an event'}"] += 1
            if len(tokens) > 1:
                self._violated(id, f"leg {leg} received now this, now that: {tokens}")

    def _judge_step(self, id: str, leg: int, *, has_ended: bool) -> None:
        """A step that the body has seen done is not done again."""
        told = [e.kind for e in self.histories.get(id, ()) if e.leg == leg and e.kind in _OF_STEP]
        times = told.count("step")
        if "kept" in told and "step" in told[told.index("kept") :]:
            self._violated(id, f"step {leg} was done again: {told}")
        if has_ended and not times:
            self._violated(id, f"step {leg} was never done")
        if times > 1:
            self.verdict.runs["step: killed before it was kept, done again"] += 1
        elif times:
            self.verdict.runs["step: done once"] += 1

    def _all(self, id: str, kind: str) -> list[Event]:
        return [event for event in self.histories.get(id, ()) if event.kind == kind]

    def _violated(self, id: str, what: str) -> None:
        self.verdict.violations.append(f"{id} ({self.states.get(id, State())}): {what}")


_OF_STEP = {"step", "kept"}
