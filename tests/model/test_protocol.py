"""The protocol of exactly-once, explored: every order of parent, signal, relay and death.

A game of dice drives the package's own ``receive``, ``outbox``, ``broker.send`` and
``Relay`` with ``MemoryStore``, in a world of lists (world.py). Between any two
steps of one actor, another may act, or the actor may be killed:

- a parent's attempt begins, fresh or redelivered, also while another one is alive; it makes
  calls (others than the attempt before), aborts one, returns, raises, or is retried; it is
  killed in the body, after staging, after its result is stored, amid publishing, before the
  record is settled, before its message is acknowledged
- commands reach the broker in one pipeline or one by one; all, some, or all without an answer
- relays take, lose their lease, read, publish, are killed at each point, find no broker
- messages of deferred runs are lost (early acknowledgement), redelivered, retried, twice
  there because a live worker's were restored
- anyone aborts any call at any time; the clock moves

Not modelled: a store that is away while a parent stages or a run is claimed (the package
then goes on unguarded, and says so), results and claims that expire, one publication that
the transport itself doubles and then redelivers, a parent that runs once more after a FAILURE
of it was stored, a parent that fails when an earlier attempt of it has succeeded.

Long runs: ``DEFER_MODEL_EXAMPLES=20000 pytest tests/model``.
"""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from time import time
from typing import Literal, TypeVar

import pytest
from celery.exceptions import Retry
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from celery_defer import defer, run_id
from celery_defer.app import arrival, receive
from celery_defer.model import Outcome, When
from celery_defer.outbox import Relay, abort_call, publish
from celery_defer.outbox.commit import State
from celery_defer.run import Phase, Scope, enter, leave
from tests.model.world import SETTINGS, TARGET, Killed, Message, Task, World

T = TypeVar("T")

IDS = ("a", "b", "c")
WHENS: tuple[When, ...] = ("success", "success", "failure", "always")
#: What may happen at a point where an actor can be interrupted: mostly nothing.
WORDS = (
    *("",) * 12,
    "kill",
    "kill",
    "cut",
    "cut",
    "relay",
    "run",
    "run",
    "abort",
    "clock",
    "parent",
    "parent",
)
_DICE = 120
_DRAIN = 200
_MOST_ATTEMPTS = 4


@pytest.fixture(scope="module", autouse=True)
def _is_silent() -> Iterator[None]:
    """What the package logs of thousands of deaths is not looked at, and takes its time."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@settings(
    max_examples=int(os.environ.get("DEFER_MODEL_EXAMPLES", "2000")),
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.binary(min_size=_DICE, max_size=_DICE))
def test_whatever_happens_each_run_starts_once_if_its_parent_says_so(dice: bytes) -> None:
    game = Game(dice)
    try:
        game.play()
    finally:
        note("\n".join(game.story))


@dataclass(eq=False)
class Attempt:
    """One attempt of a parent: what it did, as the judge remembers it."""

    message: Message
    scope: Scope
    #: Its place in the order in which attempts began, and in which their bodies ended.
    begun: int
    ended: int | None = None
    #: When its body was over, and when its SUCCESS was stored, in the same order.
    was_over: int = 0
    succeeded: float = inf
    #: Whether it has staged a record, or removed that of another.
    has_acted: bool = False
    calls: dict[str, When] = field(default_factory=dict)
    has_returned: bool = False
    has_raised: bool = False
    has_succeeded: bool = False
    has_failed: bool = False

    @property
    def is_superseded(self) -> bool:
        """Whether it has found that another attempt has succeeded, whose calls stand."""
        pending = self.scope.ending.commit
        has_calls = pending is not None and pending.state is State.SUPERSEDED
        return has_calls or (self.scope.came_again and not self.has_acted)


@dataclass(eq=False)
class Parent:
    """A parent's run, with what waits for a worker and what is in one."""

    id: str
    is_late: bool
    is_judged: bool
    waiting: list[Message]
    attempts: list[Attempt] = field(default_factory=list)
    live: list[Attempt] = field(default_factory=list)
    #: When SUCCESS was stored first, in the order of the attempts.
    succeeded: float = inf


class Game:
    """A parent or two, and everyone who has a hand in what they defer; dice say what happens."""

    def __init__(self, dice: bytes) -> None:
        self._dice = iter(dice)
        self._left = len(dice)
        self._depth = 0
        self.story: list[str] = []
        self.world = World(is_pipelined=self._draw([True, False]))
        self.world.interrupt = self._interrupted
        self.parents = [self._parent(number) for number in range(self._draw([1, 1, 1, 2]))]
        #: Attempts that are interrupted in the middle of a step.
        self.busy: list[Attempt] = []
        self.starts: defaultdict[str, list[Message]] = defaultdict(list)
        #: Runs that a message was allowed to start, that were aborted, that Celery has lost.
        self.given: set[str] = set()
        self.withdrawn: set[str] = set()
        self.lost: set[str] = set()
        self.owners: dict[str, str] = {}

    def play(self) -> None:
        while self._left > 0:
            self._draw(list(self._possible()))()
            self._check()
        self._drain()
        self._check()
        assert self.world.shared.waiting() == 0
        assert self.world.shared.quarantined() == []
        for parent in self.parents:
            self._judge(parent)

    def _draw(self, options: list[T]) -> T:
        self._left -= 1
        return options[next(self._dice, 0) % len(options)]

    def _parent(self, number: int) -> Parent:
        id = f"parent-{number}"
        return Parent(id, self._draw([True, False]), self._draw([True, True, False]), [Message(id)])

    def _possible(self) -> Iterator[Callable[[], None]]:
        """What may happen next, the likelier the more often."""
        for parent in self.parents:
            yield from self._possible_to(parent)
        yield self.a_relay_ticks
        yield self.time_passes
        yield self.a_call_is_aborted
        if self.world.queue:
            yield from (self.a_message_is_run, self.a_message_is_run)
            yield self.a_waiting_message_is_restored

    def _possible_to(self, parent: Parent) -> Iterator[Callable[[], None]]:
        if parent.waiting:
            yield from [lambda: self.an_attempt_begins(parent)] * 3
        for attempt in parent.live:
            if attempt in self.busy:
                continue
            if len(parent.attempts) < _MOST_ATTEMPTS:
                yield lambda attempt=attempt: self.a_worker_is_killed(parent, attempt)  # type: ignore[misc]
            if attempt.ended is None:
                yield from [lambda attempt=attempt: self.a_body_ends(parent, attempt)] * 3  # type: ignore[misc]
            else:
                yield from [lambda attempt=attempt: self.an_attempt_ends(parent, attempt)] * 3  # type: ignore[misc]
        has_failed = any(attempt.has_raised for attempt in parent.live)
        if parent.is_late and parent.live and not parent.waiting and not has_failed:
            yield lambda: self.a_live_parent_is_delivered_again(parent)

    def _interrupted(self, point: str) -> str:
        if self._left <= 0 or self._depth > 1:
            return ""
        word = self._draw(list(WORDS))
        if word:
            self.story.append(f"  {word} {point}")
        others = {
            "relay": self.a_relay_ticks,
            "run": self.a_message_is_run,
            "abort": self.a_call_is_aborted,
            "clock": self.time_passes,
            "parent": self.a_parent_goes_on,
        }
        if word in others:
            self._depth += 1
            others[word]()
            self._depth -= 1
        return word

    def a_parent_goes_on(self) -> None:
        """Another attempt than those that are interrupted here."""
        steps = [step for parent in self.parents for step in self._possible_to(parent)]
        if steps:
            self._draw(steps)()

    # -- parents ----------------------------------------------------------------------------

    def an_attempt_begins(self, parent: Parent) -> None:
        self._begin(parent, parent.waiting.pop(0))

    def a_live_parent_is_delivered_again(self, parent: Parent) -> None:
        """The visibility timeout has passed, and the worker is not dead."""
        if len(parent.attempts) < _MOST_ATTEMPTS:
            self.story.append(f"{parent.id} is delivered again")
            parent.waiting.append(parent.live[0].message.again)

    def a_body_ends(self, parent: Parent, attempt: Attempt) -> None:
        count = self._draw([0, 1, 1, 2, 3])
        calls = {self._draw(list(IDS)): self._draw(list(WHENS)) for _ in range(count)}
        aborted = self._draw(["", "", "", *calls])
        end = self._draw(["returns", "returns", "returns", "raises", "retries"])
        if end == "raises" and self._may_succeed_otherwise(parent):
            end = "returns"
        if end == "retries" and len(parent.attempts) >= _MOST_ATTEMPTS:
            end = "returns"
        self.story.append(
            f"{parent.id}: attempt {attempt.begun} {end} with {calls} less {aborted!r}"
        )
        attempt.has_raised = end == "raises"
        try:
            with self._step_of(attempt):
                self._run_body(parent, attempt, calls, aborted, end)
        except Killed:
            self._forget_what_was_not_staged(attempt)
            self._die(parent, attempt)

    def an_attempt_ends(self, parent: Parent, attempt: Attempt) -> None:
        self.story.append(f"{parent.id}: the result of attempt {attempt.begun} is stored")
        try:
            with self._step_of(attempt):
                self._finish(parent, attempt)
        except Killed:
            self._die(parent, attempt)

    @contextmanager
    def _step_of(self, attempt: Attempt) -> Iterator[None]:
        self.busy.append(attempt)
        try:
            with self.world.process():
                yield
        finally:
            self.busy.remove(attempt)

    def a_worker_is_killed(self, parent: Parent, attempt: Attempt) -> None:
        self._die(parent, attempt)

    def _may_succeed_otherwise(self, parent: Parent) -> bool:
        """Not modelled: that one attempt has failed for good while another one may succeed."""
        others = len(parent.live) > 1 or bool(parent.waiting)
        return others or any(attempt.has_returned for attempt in parent.attempts)

    def _begin(self, parent: Parent, message: Message) -> None:
        self.world.order += 1
        task = Task(self.world, "parent", ignore_result=not parent.is_judged)
        own = Scope(task, message.request, SETTINGS, self.world.parents_store)
        attempt = Attempt(message, own, self.world.order)
        self.story.append(f"{parent.id}: attempt {self.world.order} begins")
        parent.attempts.append(attempt)
        parent.live.append(attempt)

    def _run_body(
        self, parent: Parent, attempt: Attempt, calls: dict[str, When], aborted: str, end: str
    ) -> None:
        def body() -> None:
            for id, when in calls.items():
                handle = defer(id, TARGET.with_options(when=when), attempt=attempt.begun)
                if id == aborted:
                    handle.abort()
            self.world.at("in the body")
            if end == "returns":
                self._has_ended(attempt, calls, aborted)
                attempt.has_returned = True
            elif end == "raises":
                self._has_ended(attempt, calls, aborted)
                raise ValueError
            else:
                raise Retry

        token = enter(attempt.scope)
        try:
            with suppress(ValueError):
                receive.perform(attempt.scope, body, (), {}, (Retry,))
        except Retry:
            parent.live.remove(attempt)
            again = Message(parent.id, retries=attempt.message.retries + 1)
            parent.waiting.append(again)
            self._set_state(parent, "RETRY")
        finally:
            leave(token)
            # Of two attempts at once, the one that stages last, or that forgets what was staged
            # because it has deferred nothing, takes the other's place.
            acted = self.world.acted.get(attempt.scope)
            if attempt.ended is not None and acted is not None:
                attempt.ended, attempt.has_acted = acted, True

    def _has_ended(self, attempt: Attempt, calls: dict[str, When], aborted: str) -> None:
        self.world.order += 1
        attempt.ended = attempt.was_over = self.world.order
        attempt.calls = {id: when for id, when in calls.items() if id != aborted}

    def _finish(self, parent: Parent, attempt: Attempt) -> None:
        self._store(parent, attempt)
        self.world.at("after the result is stored")
        own = attempt.scope
        if attempt.has_returned and (own.buffer.calls or own.buffer.skipped or own.ending.commit):
            publish(own, Outcome.SUCCESS)
        if not attempt.has_returned and own.ending.phase in (Phase.RETURNED, Phase.RAISED):
            publish(own, Outcome.FAILURE)
        self.world.at("before the message is acknowledged")
        parent.live.remove(attempt)

    def _store(self, parent: Parent, attempt: Attempt) -> None:
        self._set_state(parent, "SUCCESS" if attempt.has_returned else "FAILURE")
        attempt.has_succeeded = attempt.has_returned
        self.world.order += 1
        attempt.succeeded = self.world.order if attempt.has_returned else inf
        parent.succeeded = min(parent.succeeded, attempt.succeeded)
        attempt.has_failed = not attempt.has_returned

    def _set_state(self, parent: Parent, state: str) -> None:
        if parent.is_judged:
            self.world.store_result(parent.id, None, state)

    def _die(self, parent: Parent, attempt: Attempt) -> None:
        """What Celery does with a message whose worker, or whose pool's child, is lost."""
        of_child = self._draw([True, False])
        self.story.append(f"{parent.id}: attempt {attempt.begun} is killed, {of_child=}")
        if attempt in parent.live:
            parent.live.remove(attempt)
        stored = self.world.states.get(parent.id)
        if parent.is_late:
            if not attempt.has_failed and not (
                of_child and stored == "SUCCESS"
            ):  # celery 5.7: _success_was_stored
                parent.waiting.append(attempt.message.again)
        elif of_child and stored != "SUCCESS" and not attempt.has_failed:
            self._set_state(parent, "FAILURE")

    def _forget_what_was_not_staged(self, attempt: Attempt) -> None:
        """A body that was killed between its end and its staging has not ended for anyone."""
        attempt.has_raised = attempt.has_raised and attempt.ended is not None
        if attempt.scope not in self.world.acted:
            attempt.ended, attempt.has_returned, attempt.has_raised = None, False, False
            attempt.calls = {}

    # -- relays -----------------------------------------------------------------------------

    def a_relay_ticks(self) -> None:
        if self._left > 0 and self.story[-1:] != ["a relay ticks"]:
            self.story.append("a relay ticks")
        # Whatever ends a tick, the next one is another's.
        with suppress(Killed, ConnectionError), self.world.process():
            relay = Relay(self.world, self.world.relays_store, SETTINGS)
            relay.tick(time() + self.world.late)

    def time_passes(self) -> None:
        self.world.late += self._draw([11, 31, 2])

    # -- deferred runs ----------------------------------------------------------------------

    def a_waiting_message_is_restored(self) -> None:
        """A worker holds it unstarted for longer than the visibility timeout."""
        message = self._draw(self.world.queue)
        if message.is_fresh:
            self.world.redeliver(message)

    def a_message_is_run(self) -> None:
        if not self.world.queue:
            return
        message = self._draw(self.world.queue)
        self.world.queue.remove(message)
        self.story.append(f"a worker is given {message}")
        try:
            with self.world.process():
                self._run(message)
        except Killed:
            if message.id[0] in "01234567":  # half of the runs acknowledge late
                self.world.redeliver(message)
            else:
                self.lost.add(message.id)

    def _run(self, message: Message) -> None:
        own = Scope(self.world.tasks["target"], message.request, SETTINGS, self.world.parents_store)
        self.world.at("before the claim")
        if arrival.refusal(own, (), {}):
            return
        is_double = message.is_fresh and message.id in self.given
        assert not is_double, f"{message.id} is given to a message and to its double"
        self.given.add(message.id)
        self.world.at("after the claim")
        self.starts[message.id].append(message)
        if self.world.at("in the body") == "cut":  # it wants to be tried again
            again = Message(message.id, message.headers, message.retries + 1)
            self.world.queue.append(again)
        self.world.at("before the message is acknowledged")

    # -- anyone -----------------------------------------------------------------------------

    def a_call_is_aborted(self) -> None:
        parent, id = self._draw(self.parents), self._draw(list(IDS))
        id_of_run, store = run_id(parent.id, id), self.world.parents_store
        self.story.append(f"{id} of {parent.id} is aborted")
        with suppress(Killed, ConnectionError), self.world.process():
            if abort_call(self.world, store, SETTINGS.run_keeps, parent.id, id):
                assert not self.starts[id_of_run], "a run that has started is said to be withdrawn"
                self.withdrawn.add(id_of_run)

    # -- the end ----------------------------------------------------------------------------

    def _drain(self) -> None:
        """No more deaths: let everything come to its end."""
        self._left = 0
        for _ in range(_DRAIN):
            for parent in self.parents:
                self._drain_parent(parent)
            self.a_relay_ticks()
            while self.world.queue:
                self.a_message_is_run()
            self.world.late += 100
            if not self.world.shared.waiting():
                return
            if not any(p.waiting or p.live for p in self.parents):
                # What waits for a parent that nobody runs any more is dropped in the end.
                self.world.late += SETTINGS.outbox_keeps

    def _drain_parent(self, parent: Parent) -> None:
        while parent.waiting or parent.live:
            for attempt in list(parent.live):
                if attempt.ended is None:
                    self._run_body(parent, attempt, {}, "", "returns")
                self._finish(parent, attempt)
            if parent.waiting:
                self._begin(parent, parent.waiting.pop(0))

    def _check(self) -> None:
        """What holds at any time."""
        for id, starts in self.starts.items():
            tokens = {message.headers["celery_defer"]["token"] for message in starts}
            assert len(tokens) <= 1, f"{id} was started by two publications: {starts}"
        assert not any(self.starts[id] for id in self.withdrawn), "what was aborted has started"
        owners: dict[str, str] = dict(self.world.shared._owners)
        assert self.owners.items() <= owners.items(), "a run has changed hands"
        self.owners = owners

    def _judge(self, parent: Parent) -> None:
        state = self.world.states.get(parent.id, "PENDING")
        required, allowed = _due(parent, state)
        for id in IDS:
            id_of_run = run_id(parent.id, id)
            has_started = bool(self.starts[id_of_run])
            told = f"{id} of {parent.id} ({state}), {parent.attempts}"
            assert not has_started or id in allowed, f"started, which must not be: {told}"
            excused = id_of_run in self.withdrawn | self.lost
            assert has_started or excused or id not in required, f"never started: {told}"


def _due(parent: Parent, state: str) -> tuple[set[str], set[str]]:
    """Which calls must have been published at the end, and which may."""
    ended = [a for a in parent.attempts if a.ended is not None and not a.is_superseded]
    if not ended:
        return set(), set()
    last = max(ended, key=lambda attempt: attempt.ended or 0)
    if not parent.is_judged:
        outcome: Literal["success", "failure"] = "success" if last.has_returned else "failure"
        allowed = set[str]().union(
            *(_starting(a, "success" if a.has_returned else "failure") for a in ended)
        )
        return _starting(last, outcome), allowed
    if state == "SUCCESS":
        counting = [
            a for a in ended if a.has_succeeded or (a.has_returned and _stands(parent, a, ended))
        ]
        succeeded = [_starting(a, "success") for a in counting]
        required = _starting(last, "success") | _promised(parent, ended)
        return required, set[str]().union(*succeeded)
    if state == "FAILURE":
        standing = [_starting(a, "failure") for a in ended if _stands(parent, a, ended)]
        return _starting(last, "failure"), set[str]().union(*standing)
    return set(), set()


def _promised(parent: Parent, ended: list[Attempt]) -> set[str]:
    """Which calls the first SUCCESS has promised: no later attempt takes them back.

    One whose body was over before, and that has staged later, had taken its place.
    """
    return set[str]().union(
        *(
            _starting(a, "success")
            for a in ended
            if a.succeeded == parent.succeeded < inf
            and not any((a.ended or 0) < (b.ended or 0) and b.was_over < a.succeeded for b in ended)
        )
    )


def _stands(parent: Parent, attempt: Attempt, ended: list[Attempt]) -> bool:
    """Whether no other attempt has taken this one's place before the parent had succeeded."""
    own = attempt.ended or 0
    return not any(own < a.begun and (a.ended or 0) < parent.succeeded for a in ended)


def _starting(attempt: Attempt, when: str) -> set[str]:
    return {id for id, what in attempt.calls.items() if what in (when, "always")}
