"""A wake-up is one more delivery, whoever wakes the run and wherever somebody dies.

Each scene is played with every act between any two questions to the store, and with a death at
each of them: what comes of it is one answer, and one pass of the body for each turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest

from celery_defer import defer, send_event, step

from .steps_world import StepsWorld

Act = Callable[[StepsWorld], object]

# As what lies between has been counted: no scene asks the store more often.
MOST_QUESTIONS = 40


class Scene:
    """A run that waits for an event for a minute, then sleeps, and counts what it does."""

    def __init__(self) -> None:
        self.world = StepsWorld()
        self.passes = 0
        self.after: list[Any] = []

        @self.world.app.task(name="waiter", shared=False)
        def waiter() -> Any:
            return self._body()

        self.world.begin(waiter)

    def _body(self) -> Any:
        self.passes += 1
        found = step.wait_for_event("wait", "event", timeout=60, match={"key": "k"})
        answer = found and found.data["key"]
        step.run("after", self.after.append, answer)
        defer("child", self.world.child, "k")
        step.sleep("nap", 5)
        return answer

    def check(self, *answers: Any) -> None:
        """The run has ended with one of the answers, and what follows was done for that alone."""
        self.world.finish()
        run = self.world.run
        assert run.state == "SUCCESS", run.result
        assert run.result in answers
        assert set(self.after) == {run.result}
        assert self.world.ran == {"k": 1}
        assert self.world.store.kept.waiting() == 0
        # Where the event came before it parked, a run has parked for its nap alone.
        assert self.turns in (2, 3)

    @property
    def turns(self) -> int:
        return self.world.store.kept._runs[self.world.run.id].turn + 1


@contextmanager
def scene() -> Iterator[Scene]:
    opened = Scene()
    try:
        yield opened
    finally:
        opened.world.close()


def deliver(world: StepsWorld) -> None:
    world.deliver()


def tell(world: StepsWorld) -> None:
    world.tell("k")


def tell_another(world: StepsWorld) -> None:
    world.now += 1
    send_event("event", {"key": "k"}, id=f"another {world.now}")


def time_is_up(world: StepsWorld) -> None:
    world.tick(60)


def relay_looks(world: StepsWorld) -> None:
    world.tick(0)


def lease_is_over(world: StepsWorld) -> None:
    world.tick(31)


def redeliver(world: StepsWorld) -> None:
    world.redeliver(-1)


def nothing(world: StepsWorld) -> None:
    assert world.app


def act_at(world: StepsWorld, number: int, act: Act) -> Callable[[], bool]:
    """Have *act* happen round the store's question of this number; answer whether it did."""
    numbers, done = count(), list[int]()

    def interrupt(_: str, __: bool) -> None:
        if world.is_dead:
            world.die()
        if next(numbers) == number and not done:
            done.append(number)
            act(world)

    world.store.interrupt = interrupt
    return lambda: bool(done)


def die(world: StepsWorld) -> None:
    world.die()


def die_before(world: StepsWorld, question: str) -> None:
    """Have somebody die before the store is asked this question."""

    def interrupt(asked: str, is_before: bool) -> None:
        if is_before and asked == question:
            world.die()

    world.store.interrupt = interrupt


def moments(play: Callable[[int], bool]) -> None:
    """Play at each moment, until there is none of this number."""
    for number in range(MOST_QUESTIONS):
        if not play(number):
            assert number, "nothing was asked"
            return
    raise AssertionError("there are more moments than were counted")


ACTS = [tell, tell_another, time_is_up, relay_looks, lease_is_over, redeliver]


@pytest.mark.parametrize("between", ACTS, ids=lambda act: act.__name__)
@pytest.mark.parametrize("first", [tell, time_is_up], ids=lambda act: act.__name__)
def test_whoever_comes_while_a_run_is_woken_one_wins(first: Act, between: Act) -> None:
    def play(number: int) -> bool:
        with scene() as at:
            deliver(at.world)
            happened = act_at(at.world, number, between)
            first(at.world)
            deliver(at.world)
            at.check("k", None)
            assert at.passes == at.turns or between is redeliver
            return happened()

    moments(play)


@pytest.mark.parametrize("between", [tell, tell_another, time_is_up], ids=lambda a: a.__name__)
def test_whoever_comes_while_a_run_parks_it_is_woken_once(between: Act) -> None:
    def play(number: int) -> bool:
        with scene() as at:
            happened = act_at(at.world, number, between)
            deliver(at.world)
            at.world.store.interrupt = lambda _, __: None
            at.check("k", None)
            assert at.passes == at.turns
            return happened()

    moments(play)


def test_an_event_while_a_run_parks_is_not_missed() -> None:
    def play(number: int) -> bool:
        with scene() as at:
            happened = act_at(at.world, number + 1, tell)  # the run has been seen by then
            deliver(at.world)
            if happened():
                at.check("k")
            return happened()

    moments(play)


@pytest.mark.parametrize("then", [tell, time_is_up], ids=lambda act: act.__name__)
def test_a_worker_that_dies_while_its_run_parks_has_it_woken_once(then: Act) -> None:
    def play(number: int) -> bool:
        with scene() as at:
            happened = act_at(at.world, number, die)
            deliver(at.world)
            at.world.store.interrupt = lambda _, __: None
            deliver(at.world)
            then(at.world)
            at.check("k" if then is tell else None)
            return happened()

    moments(play)


def test_a_relay_that_dies_while_it_wakes_a_run_leaves_it_to_the_next() -> None:
    def play(number: int) -> bool:
        with scene() as at:
            deliver(at.world)
            happened = act_at(at.world, number, die)
            time_is_up(at.world)
            at.world.store.interrupt = lambda _, __: None
            lease_is_over(at.world)
            at.check(None)
            return happened()

    moments(play)


def test_a_sender_that_dies_leaves_the_runs_that_it_has_woken_to_a_relay() -> None:
    def play(number: int) -> bool:
        with scene() as at:
            deliver(at.world)
            happened = act_at(at.world, number, die)
            tell(at.world)
            at.world.store.interrupt = lambda _, __: None
            tell(at.world)  # as a sender that has no answer does
            lease_is_over(at.world)
            at.check("k")
            return happened()

    moments(play)


@pytest.mark.parametrize("wake", [tell, time_is_up], ids=lambda act: act.__name__)
def test_a_worker_that_dies_in_a_turn_begins_it_again(wake: Act) -> None:
    def play(number: int) -> bool:
        with scene() as at:
            deliver(at.world)
            wake(at.world)
            happened = act_at(at.world, number, die)
            deliver(at.world)
            at.world.store.interrupt = lambda _, __: None
            at.check("k" if wake is tell else None)
            assert len(at.after) <= 2
            return happened()

    moments(play)


@pytest.mark.parametrize("between", ACTS, ids=lambda act: act.__name__)
def test_whoever_comes_while_a_woken_run_is_at_work_changes_nothing(between: Act) -> None:
    def play(number: int) -> bool:
        with scene() as at:
            deliver(at.world)
            tell(at.world)
            happened = act_at(at.world, number, between)
            deliver(at.world)
            at.world.store.interrupt = lambda _, __: None
            at.check("k")
            return happened()

    moments(play)


def test_two_events_at_once_wake_a_run_once() -> None:
    with scene() as at:
        deliver(at.world)
        tell(at.world)
        tell_another(at.world)

        at.world._collect()
        assert len(at.world.queue) == 1
        at.check("k")


def test_two_relays_at_once_wake_a_run_once() -> None:
    with scene() as at:
        deliver(at.world)
        time_is_up(at.world)
        relay_looks(at.world)

        at.world._collect()
        assert len(at.world.queue) == 1
        at.check(None)


def test_a_wake_up_that_was_published_twice_begins_one_turn() -> None:
    with scene() as at:
        deliver(at.world)
        die_before(at.world, "expect")  # published, and not settled
        time_is_up(at.world)
        assert at.world.store.kept.waiting() == 1
        at.world.store.interrupt = lambda _, __: None
        lease_is_over(at.world)

        at.world._collect()
        assert len(at.world.queue) == 2
        at.check(None)
        assert at.passes == 3


def test_the_first_delivery_that_comes_again_begins_no_step() -> None:
    with scene() as at:
        deliver(at.world)
        for _ in range(3):
            redeliver(at.world)
        tell(at.world)
        deliver(at.world)
        at.world.redeliver(0)

        at.check("k")
        assert at.after == ["k"]


def test_an_early_event_of_new_paths_is_found_though_the_worker_dies_as_its_run_parks() -> None:
    def play(number: int) -> bool:
        world = StepsWorld()
        try:
            world.begin(world.app.task(name="awaits-late", shared=False)(late))
            deliver(world)
            send_event("new", {"key": "k"})
            world.tick(30)
            happened = act_at(world, number, die)
            deliver(world)
            world.finish()
            assert world.run.result == "k"
            return happened()
        finally:
            world.close()

    moments(play)


def late() -> Any:
    step.sleep("nap", 30)
    found = step.wait_for_event("wait", "new", timeout=60, match={"key": "k"})
    return found and found.data["key"]
