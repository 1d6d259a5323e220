"""Several attempts of one run, under both ways of committing: that whose SUCCESS is stored counts.

Attempts start, are overtaken, are delivered again, retry, and are killed at any point: before they
stage, after it, after their result is stored, before they settle. The client forgets the result, a
worker stores FAILURE for a child that it has lost, and relays look.

Not modelled: results that are not in a Redis, or not in JSON (test_protocol.py has no Redis).

Long runs: ``DEFER_MODEL_EXAMPLES=20000 pytest tests/model/test_attempts.py``.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Iterator
from random import Random

import pytest

from tests.model.attempts import Attempt, Plan, Run, Way
from tests.support.redis import running

# redis-py says so of what Celery's result backend calls.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

EXAMPLES = int(os.environ.get("DEFER_MODEL_EXAMPLES", "2000")) // 4
_MOST_ATTEMPTS = 3


@pytest.fixture(scope="module")
def ways() -> Iterator[list[Way]]:
    logging.disable()  # what the package logs of thousands of deaths is not looked at
    with running() as server:
        ways = [Way(server, "result"), Way(server, "signal")]
        yield ways
        for way in ways:
            way.close()
        ways.clear()
        gc.collect()  # Celery's results ask the server as they go, and for minutes if it is gone
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("part", range(4))
def test_the_calls_of_the_attempt_whose_success_is_stored_are_published(
    ways: list[Way], part: int
) -> None:
    for seed in range(part, EXAMPLES, 4):
        for way in ways:
            game = Game(way, seed)
            game.play()
            game.judge()


class Game:
    """One run, whose attempts do what a seed says; the same under each way of committing."""

    def __init__(self, way: Way, seed: int) -> None:
        self.dice = Random(seed)
        self.run = Run(way, f"run-{seed}")
        self.plans = [self._plan() for _ in range(_MOST_ATTEMPTS)]
        self.story = [f"seed {seed}, {way.commit}"]

    def play(self) -> None:
        self.deliver()
        while self.run.alive or self.dice.random() < 0.5:
            if len(self.story) > 100:
                break
            name, act = self._draw()
            self.story.append(name)
            act()
        self.run.finish()

    def judge(self) -> None:
        run = self.run
        told = "\n".join([*self.story, *map(str, run.attempts), f"{run.stored} {run.published}"])
        winners = sorted(
            (each for each in run.attempts if each.won_at), key=lambda each: each.won_at
        )
        required = winners[0].plan.starting("success") if winners else set()
        assert required <= run.published, f"lost: {told}"
        assert run.published <= self._allowed(winners), f"too much: {told}"
        assert run.store.waiting() == 0, told
        others = [each for each in run.attempts if each.plan.end != "returns"]
        if winners and not run.is_forgotten and all(each.plan.calls for each in others):
            assert run.stored[0] == "SUCCESS", f"another end is stored over it: {told}"

    def _allowed(self, winners: list[Attempt]) -> set[str]:
        """Return what may be published.

        A FAILURE may stand for a while, and a forgotten SUCCESS may be followed by another. A
        winner that was delivered first, and has no record, does not name itself: then nobody knows
        that a dead attempt's record is not the winner's, or that a retry has not stored that
        SUCCESS itself.
        """
        ended = [each for each in self.run.attempts if each.has_ended_body]
        allowed = [each.plan.starting("failure") for each in ended if self.run.has_failed]
        allowed += [each.plan.starting("success") for each in winners]
        is_alone = self.run.way.commit == "result"
        if any(not each.came_again and (is_alone or not each.plan.calls) for each in winners):
            allowed += [
                each.plan.starting("success") for each in ended if each.is_killed or each.retries
            ]
        return set().union(*allowed)

    def _plan(self) -> Plan:
        ids = [id for id in "ab" if self.dice.random() < 0.5]
        ends = ["returns", "returns", "returns", "raises", "retries"]
        whens = self.dice.choices(["success", "failure", "always"], k=len(ids))
        return Plan(dict(zip(ids, whens, strict=True)), self.dice.choice(ends))  # type: ignore[arg-type]

    def _draw(self) -> tuple[str, Callable[[], None]]:
        roll = self.dice.random()
        if roll < 0.15:
            return "the message is delivered again", self.deliver
        if roll < 0.18:
            return "the client forgets the result", self.run.forget
        if roll < 0.20:
            return "a relay looks", lambda: self.run.look(30)
        if roll < 0.24:
            return "a child is lost", self.lose
        if not self.run.alive:
            return "nothing happens", lambda: None
        attempt = self.dice.choice(self.run.alive)
        is_killed = self.dice.random() < 0.12
        does = "is killed" if is_killed else "goes on"
        name = f"attempt {attempt.number} {does}: {attempt.point}"
        return name, lambda: attempt.move(kill=is_killed)

    def deliver(self) -> None:
        """Deliver the message again, or that of a retry if one was published."""
        number = len(self.run.attempts)
        if number == _MOST_ATTEMPTS:
            return
        last = self.run.attempts[-1] if self.run.attempts else None
        retries = last.retries if last else 0
        if last and last.plan.end == "retries" and last.has_ended_body:
            self.run.deliver(self.plans[number], is_redelivered=False, retries=retries + 1)
        else:
            self.run.deliver(self.plans[number], is_redelivered=bool(last), retries=retries)

    def lose(self) -> None:
        if any(attempt.is_killed for attempt in self.run.attempts):
            self.run.lose()
