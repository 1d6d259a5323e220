"""Limits hold whatever happens to workers, messages, relays and clocks; in both stores alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from redis import Redis

from celery_defer.flow import Gate, Kind
from celery_defer.ids import RunId
from examples.redis_server import own_database, redis_server
from tests.model.flow_witness import Witness
from tests.model.flow_world import LEASE, Call, FlowWorld
from tests.model.twins import Twins

_PREFIX = "flow-model:"

#: The limits of each function; those with a key have it from the run.
FUNCTIONS: dict[str, tuple[Gate, ...]] = {
    "one": (Gate(Kind.CONCURRENCY, "concurrency", limit=1),),
    "two": (
        Gate(Kind.CONCURRENCY, "concurrency", "k", limit=2),
        Gate(Kind.CONCURRENCY, "concurrency.2", limit=3),
    ),
    "paced": (
        Gate(Kind.THROTTLE, "throttle", "k", limit=2, period=8.0),
        Gate(Kind.CONCURRENCY, "concurrency", limit=2),
    ),
    "bursts": (Gate(Kind.THROTTLE, "throttle", limit=1, period=4.0, burst=2),),
    "few": (Gate(Kind.RATE_LIMIT, "rate_limit", "k", limit=2, period=10.0),),
    "alone": (
        Gate(Kind.SINGLETON, "singleton", "k"),
        Gate(Kind.CONCURRENCY, "concurrency", limit=2),
    ),
    "newest": (
        Gate(Kind.SINGLETON, "singleton", "k", cancels=True),
        Gate(Kind.CONCURRENCY, "concurrency", limit=2),
    ),
    "once": (
        Gate(Kind.IDEMPOTENCY, "idempotency", "k", period=20.0),
        Gate(Kind.CONCURRENCY, "concurrency", limit=1),
    ),
    "last": (
        Gate(Kind.DEBOUNCE, "debounce", "k", period=5.0, timeout=12.0),
        Gate(Kind.CONCURRENCY, "concurrency", "k", limit=1),
    ),
    "together": (Gate(Kind.CONCURRENCY, "concurrency", "k", limit=1),),
    "free": (),
}
_LIMITED = [(task, gate.name) for task, gates in FUNCTIONS.items() for gate in gates]
_BY_NAME = {(task, gate.name): gate for task, gates in FUNCTIONS.items() for gate in gates}

#: Those whose runs may get another key.
_MOVES = {"two", "paced"}

functions = st.sampled_from(sorted(FUNCTIONS))
ages = st.sampled_from([0.0, 0.0, 2.0])
priorities = st.sampled_from([0.0, 0.0, 3.0, -3.0])
ways = st.sampled_from(["retry", "park", "lose", "lose, noticed"])
places = st.integers(0, 99)
seconds = st.sampled_from([0.25, 1.0, 4.0, 10.0, 31.0, 61.0])


class Limits(RuleBasedStateMachine):
    """A broker, workers and relays do what they may do, in any order."""

    client: ClassVar[Redis]

    def __init__(self) -> None:
        super().__init__()
        for key in self.client.scan_iter(f"{_PREFIX}*"):
            self.client.delete(key)
        self.witness = Witness(_BY_NAME)
        self.world = FlowWorld(Twins(self.client, _PREFIX), self.witness)
        self.witness.world = self.world

    # -- what users do --------------------------------------------------------------

    @rule(
        task=functions, key=st.sampled_from("xy"), count=st.integers(1, 3), age=ages,
        priority=priorities,
    )  # fmt: skip
    def defer(self, task: str, key: str, count: int, age: float, priority: float) -> None:
        for _ in range(count):
            self.world.defer(Call(task, _keyed(task, key), self.world.now - age, priority))

    @rule(key=st.sampled_from("xy"), count=st.integers(1, 4), priority=priorities)
    def gather(self, key: str, count: int, priority: float) -> None:
        """Defer calls of a function that takes them in batches."""
        call = Call("together", _keyed("together", key), self.world.now, priority)
        self.world.gather(call, key, count)

    @rule(pick=places)
    def abort(self, pick: int) -> None:
        if runs := [run for run in self.world.runs if run not in self.world.over]:
            self.world.abort(runs[pick % len(runs)])

    @rule(pick=places, key=st.sampled_from("xy"))
    def deploy(self, pick: int, key: str) -> None:
        """The key of a run is another one from now on."""
        runs = self.world.runs
        if open := [run for run in runs if run not in self.world.over and runs[run].task in _MOVES]:
            run = open[pick % len(open)]
            runs[run] = replace(runs[run], gates=_keyed(runs[run].task, key))

    @rule(limited=st.sampled_from(_LIMITED), limit=st.none() | st.integers(0, 4))
    def set_limit(self, limited: tuple[str, str], limit: int | None) -> None:
        if _BY_NAME[limited].kind is not Kind.CONCURRENCY:
            return
        numbers = None if limit is None else {"limit": limit}
        self.world.stores.ask(lambda s, _: s.set_limit(*limited, numbers))
        self.witness.limit_is(limited, limit)

    @rule(task=functions, is_paused=st.booleans())
    def pause(self, task: str, is_paused: bool) -> None:
        self.world.stores.ask(lambda s, _: s.pause(task, is_paused=is_paused))
        (self.world.paused.add if is_paused else self.world.paused.discard)(task)

    # -- what workers do ------------------------------------------------------------

    @precondition(lambda self: self.world.broker)
    @rule(picks=st.lists(places, min_size=1, max_size=4), dies=st.booleans())
    def receive(self, picks: list[int], dies: bool) -> None:
        for pick in picks:
            if broker := self.world.broker:
                self.world.receive(broker[pick % len(broker)], dies=dies and pick % 2 == 1)

    @precondition(lambda self: self.world.working)
    @rule(picks=st.lists(places, min_size=1, max_size=3))
    def end(self, picks: list[int]) -> None:
        for pick in picks:
            if working := self.world.working:
                self.world.end(working[pick % len(working)])

    @precondition(lambda self: self.world.working)
    @rule(pick=places, way=ways, time=seconds)
    def leave(self, pick: int, way: str, time: float) -> None:
        delivery = self.world.working[pick % len(self.world.working)]
        if way == "retry":
            self.world.retry(delivery)
        elif way == "park":
            self.world.park(delivery, time)
        else:
            self.world.lose(delivery, is_noticed=way == "lose, noticed")

    @precondition(lambda self: self.world.working)
    @rule(picks=st.sets(places, max_size=3))
    def renew(self, picks: set[int]) -> None:
        working = self.world.working
        self.world.renew([working[pick] for pick in {pick % len(working) for pick in picks}])

    # -- what the broker and relays do ----------------------------------------------

    @precondition(lambda self: self.world.broker)
    @rule(pick=places)
    def duplicate(self, pick: int) -> None:
        """A relay publishes a message again, with a token of its own."""
        message = self.world.broker[pick % len(self.world.broker)]
        if not message.is_retry:
            self.world.publish_again(message)

    @precondition(lambda self: self.world.working)
    @rule(pick=places)
    def redeliver(self, pick: int) -> None:
        """The broker gives a message to a second worker while the first one still has it."""
        message = self.world.working[pick % len(self.world.working)].message
        if message not in self.world.broker:
            self.world.redeliver(message)

    @precondition(lambda self: self.world.broker)
    @rule(pick=places)
    def lose_message(self, pick: int) -> None:
        """A wake-up is lost; its record is there still."""
        message = self.world.broker[pick % len(self.world.broker)]
        if message.turn and not message.is_retry and not message.has_begun:
            self.world.broker.remove(message)

    @rule(limit=st.integers(0, 3))
    def drain(self, limit: int) -> None:
        self.world.drain(limit)

    @rule()
    def take(self) -> None:
        self.world.take()

    @rule(time=seconds, ahead=st.sampled_from([0.0, 0.0, 4_096.0, -256.0]))
    def wait(self, time: float, ahead: float) -> None:
        self.world.stores.move(time)
        self.world.stores.ahead = ahead

    # -- what holds -----------------------------------------------------------------

    @rule()
    def nobody_waits_in_vain(self) -> None:
        self.world.rest()
        self.witness.check_nobody_waits_in_vain()

    @invariant()
    def the_stores_show_the_same(self) -> None:
        stores, runs = self.world.stores, [RunId(run) for run in self.world.runs]
        stores.ask(lambda s, _: s.flow(sorted(FUNCTIONS)))
        stores.ask(lambda s, _: s.in_line(runs))
        stores.ask(lambda s, _: s.flow_due(), is_time=True)
        stores.ask(lambda s, _: s.next_due(), is_time=True)
        stores.ask(lambda s, _: s.waiting())

    def teardown(self) -> None:
        self.all_runs_end()
        self.what_is_left_expires()

    def all_runs_end(self) -> None:
        """Each run that was not dropped ends, and is not run by two at a time."""
        for task in sorted(self.world.paused):
            self.pause(task, False)
        for limited in sorted(self.witness.limits):
            self.set_limit(limited, None)
        for _ in range(200):
            if not self.is_anything_left():
                break
            self.nobody_waits_in_vain()
            self.world.take()
            for message in list(self.world.broker):
                self.world.receive(message)
            for delivery in list(self.world.working):
                self.world.end(delivery)
            self.wait(LEASE, 0.0)
        assert set(self.world.over) == set(self.world.runs)
        assert not self.is_anything_left()

    def is_anything_left(self) -> bool:
        world = self.world
        open = set(world.runs) - set(world.over)
        return bool(open or world.broker or world.working or not all(world.calls.values()))

    def what_is_left_expires(self) -> None:
        for key in self.client.scan_iter(f"{_PREFIX}*"):
            name = key.decode().removeprefix(_PREFIX)
            assert name in {"due", "waits", "now"} or int(self.client.ttl(key)) > 0, name  # type: ignore[arg-type]


def _keyed(task: str, key: str) -> tuple[Gate, ...]:
    return tuple(replace(gate, key=key if gate.key else "") for gate in FUNCTIONS[task])


@pytest.fixture(scope="module", autouse=True)
def _redis() -> Iterator[None]:
    with redis_server() as server, own_database(server) as url, Redis.from_url(url) as client:
        Limits.client = client
        yield


TestLimits = Limits.TestCase
TestLimits.settings = settings(
    max_examples=int(os.environ.get("DEFER_MODEL_EXAMPLES", "60")),
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
