"""Programs of random steps end as if nobody had died, and nobody had come between.

Not modelled: a store that is away, claims and results that expire, messages that are lost, a
death between park and the look for early events where the paths are new (test_wakes.py).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, example, given, note, settings
from hypothesis import strategies as st

from celery_defer import StepError, StoreError, defer, step

from .steps_world import StepsWorld

# A run takes a tenth of a second, and to shrink one would take minutes.
EXAMPLES = int(os.environ.get("DEFER_MODEL_EXAMPLES", "1000")) // 20
PHASES = (Phase.explicit, Phase.generate)


class Declined(Exception):
    """What a step's function raises."""


class Stumbled(Exception):
    """What the body itself raises; Celery runs it again."""


@dataclass(frozen=True)
class Op:
    """One line of a program: what kind of step, under which id, and how it goes."""

    kind: str
    id: str = "a"
    n: int = 0
    inner: tuple[Op, ...] = ()


ANSWERING = ("run", "runs", "flaky", "defers", "again")
ids = st.sampled_from("abc")
lines = st.one_of(
    st.builds(Op, st.sampled_from(["run", "runs", "flaky", "defers"]), ids),
    st.builds(Op, st.sampled_from(["caught", "again", "fails", "stumbles", "defer"]), ids),
    st.builds(Op, st.sampled_from(["sleep", "comes", "times out", "sent", "invoke"]), ids),
)
programs = st.lists(
    lines
    | st.builds(
        Op, st.just("loop"), ids, st.integers(1, 3), st.lists(lines, max_size=3).map(tuple)
    ),
    min_size=1,
    max_size=6,
)


class Player:
    """Interprets a program as the body of a task, and says what must come of it."""

    def __init__(self, world: StepsWorld, program: list[Op]) -> None:
        self.world = world
        self.program = program
        #: How often each function was called, and has answered.
        self.called: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.stumbled: set[str] = set()
        self.task = self._task()

    def _task(self) -> Any:
        @self.world.app.task(
            name="player",
            shared=False,
            autoretry_for=(Stumbled,),
            default_retry_delay=0,
            max_retries=None,
            retry_jitter=False,
        )
        def player() -> list[str]:
            keys: Counter[str] = Counter()
            return [self._play(op, place) for op, place in _unrolled(self.program, keys)]

        return player

    def _play(self, op: Op, place: str) -> str:  # noqa: C901, PLR0911, PLR0912
        world, child = self.world, self.world.child
        if op.kind in ("run", "runs"):
            return step.run(op.id, self._function(place)).partition("/")[0]
        if op.kind == "flaky":
            return step.run(op.id, self._function(place, fails=2), retries=2).partition("/")[0]
        if op.kind == "defers":
            return step.run(
                op.id, self._function(place, fails=1, defers=True), retries=1
            ).partition("/")[0]
        if op.kind == "caught":
            try:
                return step.run(op.id, self._function(place, fails=99, defers=True))
            except Declined as error:
                return f"caught {error}"
        if op.kind == "again":
            try:
                return step.run(op.id, self._function(place, fails=2)).partition("/")[0]
            except Declined as error:
                step.run(f"log {place}", int)
                raise Stumbled from error
        if op.kind == "fails":
            try:
                return step.run(op.id, self._function(place, fails=99), retries=1)
            except StepError as error:
                return f"failed {error.__cause__}"
        if op.kind == "sleep":
            step.sleep(op.id, 30)
        elif op.kind == "comes":
            found = step.wait_for_event(op.id, "event", timeout="300d", match={"key": place})
            return f"received {found and found.data}"
        elif op.kind == "times out":
            found = step.wait_for_event(op.id, "event", timeout=60, match={"key": "none"})
            return f"received {found}"
        elif op.kind == "sent":
            step.send_event(op.id, "own", place)
            found = step.wait_for_event(f"{op.id}!", "own", timeout="300d")
            return f"received {found is not None}"
        elif op.kind == "invoke":
            return step.invoke(op.id, child, f"invoked {place}")
        elif op.kind == "defer":
            defer(f"body {place}", child, f"body {place}")
        elif op.kind == "stumbles" and place not in self.stumbled:
            self.stumbled.add(place)
            defer(f"stumbled {place}", child, "stumbled")
            raise Stumbled
        assert world.run is not None
        return op.kind

    def _function(self, place: str, fails: int = 0, *, defers: bool = False) -> Any:
        def function() -> str:
            self.called[place] += 1
            number = self.called[place]
            if defers:
                what = "failed" if number <= fails else f"step {place}"
                defer(f"{what} {place}", self.world.child, what)
            if number <= fails:
                raise Declined(place)
            self.answered[place] += 1
            return f"answer of {place}/{number}"  # as one that is called twice differs

        return function

    # -- what must come of it --------------------------------------------------------------

    def places(self, *kinds: str) -> list[str]:
        return [place for op, place in _unrolled(self.program, Counter()) if op.kind in kinds]

    def result(self) -> list[str]:
        return [_result(op, place) for op, place in _unrolled(self.program, Counter())]

    def children(self) -> Counter[str]:
        """How often each deferred function runs."""
        return Counter(
            [f"step {place}" for place in self.places("defers")]
            + [f"body {place}" for place in self.places("defer")]
            + [f"invoked {place}" for place in self.places("invoke")]
        )


def _unrolled(program: Any, counts: Counter[str]) -> Iterator[tuple[Op, str]]:
    for op in program:
        if op.kind == "loop":
            for _ in range(op.n):
                yield from _unrolled(op.inner, counts)
        else:
            counts[op.id] += 1
            yield op, f"{op.id}{counts[op.id]}"


def _result(op: Op, place: str) -> str:
    answers = {
        "caught": f"caught {place}",
        "fails": f"failed {place}",
        "comes": f"received { {'key': place} }",
        "times out": "received None",
        "sent": "received True",
        "invoke": f"child invoked {place}",
    }
    if op.kind in ANSWERING:
        return f"answer of {place}"
    return answers.get(op.kind, op.kind)


@contextmanager
def played(program: list[Op]) -> Iterator[tuple[StepsWorld, Player]]:
    world = StepsWorld()
    player = Player(world, program)
    try:
        world.begin(player.task)
        yield world, player
    finally:
        world.close()


def check(world: StepsWorld, player: Player, lost: int = 0, twice: int = 0) -> None:
    """Compare with what must be.

    *lost* processes have died, each amid one function perhaps; *twice* a broker has given the
    run's message to a second worker while the first was at work, so that both may be in a step.
    """
    assert world.run.state == "SUCCESS", world.run.result
    assert world.run.result == player.result()
    assert _is_once(world.ran, player.children(), lost)
    answered = Counter(player.places(*ANSWERING))
    assert twice or _is_once(player.answered, answered, lost)
    assert world.store.kept.quarantined() == []


@settings(
    max_examples=EXAMPLES // 2,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=PHASES,
)
@given(programs)
def test_a_run_that_nothing_disturbs_does_each_step_once(program: list[Op]) -> None:
    with played(program) as (world, player):
        for place in player.places("comes"):
            world.deliver()
            world.tell(place)
        world.finish()

        check(world, player)
        done = player.places(*ANSWERING)
        assert player.answered == Counter(done)
        tries = {"flaky": 3, "defers": 2, "caught": 1, "fails": 2}
        for kind, times in tries.items():
            if not player.places("stumbles", "again"):
                assert [player.called[place] for place in player.places(kind)] == [
                    times for _ in player.places(kind)
                ]


def _is_once(found: Counter[str], expected: Counter[str], lost: int) -> bool:
    more = found - expected
    return found.keys() == expected.keys() and more.total() <= lost


@settings(
    max_examples=EXAMPLES // 2,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=PHASES,
)
@given(programs, st.integers(0, 12))
@example([Op("run"), Op("stumbles")], 1)  # lost between two attempts of turn 0
def test_a_run_whose_steps_are_lost_does_none_again(program: list[Op], after: int) -> None:
    with played(program) as (world, player):
        for _ in range(after):
            world.go_on()
        world.forget()
        world.finish()

        assert set(player.answered.values()) <= {1}
        assert world.run.state == "SUCCESS" or type(world.run.result) is StoreError


ACTS = ["deliver", "redeliver", "tick", "pass", "tell"]


@dataclass
class Chaos:
    """Draws what happens next, and what comes between at each question to the store."""

    world: StepsWorld
    player: Player
    data: Any
    left: int = 12
    depth: int = 0
    #: Answers that were lost before they were kept: the function behind may be called again.
    lost: int = 0
    twice: int = 0

    def __post_init__(self) -> None:
        self.untold = list(self.player.places("comes"))
        self.world.store.interrupt = self.interrupt

    def play(self) -> None:
        for _ in range(self.data.draw(st.integers(1, 15), "acts")):
            self.act(self.data.draw(st.sampled_from(ACTS), "act"))
        self.left = 0
        while self.untold:
            self.world.deliver()
            self.world.tick(1.0)
            self.act("tell")
        self.world.finish()

    def act(self, name: str) -> None:
        note(f"{'  ' * self.depth}{name}")
        if name == "deliver":
            self.world.deliver(self.data.draw(st.integers(0, 3), "which"))
        elif name == "redeliver":
            self.twice += self.depth
            self.world.redeliver(self.data.draw(st.integers(0, 3), "which old"))
        elif name == "tick":  # not so late that a wait for what will come is over
            self.world.tick(60.0 if self.untold else None)
        elif name == "pass":
            self.world.tick(self.data.draw(st.sampled_from([1.0, 9.0, 31.0]), "seconds"))
        elif self.untold and self.world.is_seen:
            place = self.untold[0]
            if self.world.tell(place) and place in self.untold:
                self.untold.remove(place)

    def interrupt(self, method: str, is_before: bool) -> None:
        if self.world.is_dead:
            self.world.die()
        if self.left <= 0 or method in {"next_due", "waiting"}:
            return
        what = self.data.draw(st.sampled_from(["", "", "", "", "", "kill", *ACTS]), method)
        if not what:
            return
        self.left -= 1
        note(f"{'  ' * self.depth}{'before' if is_before else 'after'} {method}: {what}")
        if what == "kill":
            self.lost += 1
            self.world.die()
        elif self.depth < 2:
            self.depth += 1
            try:
                self.act(what)
            finally:
                self.depth -= 1


@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES
)
@given(programs, st.data())
def test_a_run_ends_as_if_nothing_had_disturbed_it(program: list[Op], data: Any) -> None:
    with played(program) as (world, player):
        chaos = Chaos(world, player, data)
        chaos.play()

        check(world, player, chaos.lost, chaos.twice)
