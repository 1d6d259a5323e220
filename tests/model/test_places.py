"""Rules 3.5, 3.8 and 4.3: a call that is made, aborted or refused in any place, at any end.

One table for the test kit and for Celery's tracer with real messages and a relay: each program
does one thing in one place, and goes one way to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import pytest
from celery import Celery

from celery_defer import DeferHandle, cancel, defer, run_id, step
from celery_defer.model import Outcome, When
from celery_defer.testing import Simulation
from tests.support.inside import WatchedStore, Worker, ids_of, ship_of

WAYS = ("", "retry", "park", "retry park", "park retry")
ENDS = [*product(WAYS, ("SUCCESS", "FAILURE")), ("park", "REVOKED"), ("retry park", "REVOKED")]

#: Which calls are published, and the state of the call that has no run.
Fate = tuple[list[str], str]


class Declined(Exception):
    """What a body raises that fails."""


@dataclass(frozen=True)
class Program:
    """What a body does to the call ``it``, where, and how it ends."""

    act: str
    #: In every attempt, or in the first one alone.
    place: str
    when: When = "success"
    #: Where the call was made that is aborted.
    made: str = "body"
    way: str = ""
    end: str = "SUCCESS"

    @property
    def lasts(self) -> bool:
        """Whether what was done still holds at the end.

        What a finished step did belongs to the run. A body is run again, and does it again; only
        a call that a step made cannot be aborted again, so that is kept when the run parks.
        """
        if self.place.endswith("step"):
            return True
        if self.act == "abort" and self.made == "step":
            return not self.way.startswith("retry")
        return self.place == "body" or "retry" not in self.way

    @property
    def fate(self) -> Fate:
        if self.end == "REVOKED":
            return [], "PENDING"
        if self.act != "defer" and self.lasts:
            return [], {"abort": "ABORTED", "skip": "SKIPPED"}[self.act]
        is_made = self.act == "abort" or (self.act == "defer" and self.lasts)
        return ["it"] if is_made and Outcome(self.end).starts(self.when) else [], "PENDING"


def programs() -> Iterator[Program]:
    """Return the table, without the ways and the ends."""
    for place in ("body", "step", "first body", "first step"):
        yield Program("skip", place)
        for when in ("success", "failure"):
            yield Program("defer", place, when)
            yield Program("abort", place, when)
            yield Program("abort", place, when, made="step")


def name_of(program: Program) -> str:
    made = f" made in {program.made}" if program.act == "abort" else ""
    return f"{program.act} {program.when}{made} in {program.place}"


@dataclass
class Turn:
    """One turn of a program's body."""

    program: Program
    task: Any
    ship: Any
    #: What this turn has made: nothing, where a finished step had made it.
    handles: list[DeferHandle] = field(default_factory=list)

    def run(self) -> None:
        program, is_first = self.program, self.task.request.retries == 0
        if program.act == "abort":
            self._do(program.made, "make", self.defer)
        if is_first or not program.place.startswith("first"):
            self._do(program.place, "act", getattr(self, program.act))
        for turn in program.way.split():
            if turn == "park":
                step.sleep("nap", 60)
            elif is_first:
                raise self.task.retry(countdown=0)
        if program.end == "FAILURE":
            raise Declined

    def _do(self, place: str, id: str, act: Callable[[], None]) -> None:
        if place.endswith("step"):
            step.run(id, act)
        else:
            act()

    def defer(self) -> None:
        self.handles.append(defer("it", self.ship.with_options(when=self.program.when), 1))

    def skip(self) -> None:
        defer("it", self.ship, "no number")

    def abort(self) -> None:
        for handle in self.handles:
            handle.abort()


def each_end(app: Celery, program: Program) -> Iterator[tuple[Program, Any]]:
    """Return the program with each way to each end, and a task that runs it."""
    ship = ship_of(app)
    for way, end in ENDS:
        one = replace(program, way=way, end=end)

        def body(task: Any, one: Program = one) -> None:
            Turn(one, task, ship).run()

        yield one, app.task(body, name=f"{way} {end}", bind=True, shared=False)


@pytest.mark.parametrize("program", list(programs()), ids=name_of)
def test_a_call_in_any_place_has_its_fate_at_any_end_in_a_worker(
    app: Celery, worker: Worker, store: WatchedStore, program: Program
) -> None:
    fates = {one: _fate_in_worker(worker, one, parent) for one, parent in each_end(app, program)}

    assert fates == {one: one.fate for one in fates}
    assert store.waiting() == 0


@pytest.mark.parametrize("program", list(programs()), ids=name_of)
def test_a_call_in_any_place_has_its_fate_at_any_end_in_the_test_kit(
    app: Celery, sim: Simulation, program: Program
) -> None:
    fates = {one: _fate_in_kit(sim, one, parent) for one, parent in each_end(app, program)}

    assert fates == {one: one.fate for one in fates}


def _fate_in_worker(worker: Worker, program: Program, parent: Any) -> Fate:
    result, published = worker.run(parent), list[Any]()
    for seconds in (0, 61):
        messages = worker.later(seconds)
        while messages:
            for message in messages:
                if message.headers["id"] == result.id:
                    worker.trace(message)
                else:
                    published.append(message)
            messages = worker.published()
        if program.end == "REVOKED" and result.state == "WAITING":
            cancel(result.id)
    assert result.state == program.end
    return ids_of(published), worker.app.AsyncResult(run_id(result.id, "it")).state


def _fate_in_kit(sim: Simulation, program: Program, parent: Any) -> Fate:
    run = sim.run(parent)
    sim.drain()
    if program.end == "REVOKED":
        cancel(run.id)
    sim.advance("1h")
    assert run.state == program.end
    states = {id: call.state for id, call in run.deferred.items()}
    published = [id for id, state in states.items() if state == "PUBLISHED"]
    state = states.get("it", "PENDING")
    assert (state == "SKIPPED") == bool(run.skipped)
    return published, state if state in ("SKIPPED", "ABORTED") else "PENDING"
