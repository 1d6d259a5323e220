"""Whoever is killed between two words with the store: no call is lost, and one executes at a time.

A worker that is killed as a whole has not acknowledged what it has done: Celery runs that again.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.processes import CeleryWorker
from tests.worker.flow.arena import Arena

WHO = pytest.mark.parametrize("who", ["child", "worker"])


@pytest.fixture
def die(arena: Arena) -> Callable[[CeleryWorker, str], None]:
    """Wait until all have died who were to die, and let the worker come back."""

    def die(worker: CeleryWorker, who: str) -> None:
        arena.wait_killed()
        if who == "worker":
            worker.await_crash()
            worker.start()
            worker.await_ready()

    return die


@WHO
def test_a_place_is_given_back_whose_body_never_began(
    arena: Arena, die: Callable[[CeleryWorker, str], None], who: str
) -> None:
    worker = arena.start(visibility=2)
    arena.let_go("1", "2")
    arena.arm("asked", "1", who)

    arena.send("1")
    die(worker, who)
    arena.send("2")

    arena.wait_done()
    assert arena.most == 1
    assert arena.ended == {"1": 1, "2": 1}


@WHO
@pytest.mark.parametrize("point", ["unheld", "held"])
def test_a_run_is_held_though_its_worker_dies_as_it_is_held(
    arena: Arena, die: Callable[[CeleryWorker, str], None], point: str, who: str
) -> None:
    first = arena.start(children=1, visibility=2)
    arena.send("1")
    arena.wait_executing("1")
    second = arena.start(children=1, visibility=2)
    arena.arm(point, "2", who)

    arena.send("2")
    die(second, who)
    arena.wait_held("2")
    arena.let_go("1", "2")

    arena.wait_done()
    assert arena.most == 1
    assert arena.ended["2"] == 1
    # The broker may give its message again, which is not acknowledged for longer than that takes.
    assert arena.ended["1"] == 1 or who == "worker"
    assert first.is_running


@WHO
@pytest.mark.parametrize(
    ("point", "apart"), [("unreleased", 1), ("released", 1), ("released", 0)],
    ids=["unreleased", "released", "released-with-result"],
)  # fmt: skip
def test_the_next_gets_its_place_though_the_worker_dies_that_gives_it_back(
    arena: Arena, die: Callable[[CeleryWorker, str], None], point: str, apart: int, who: str
) -> None:
    worker = arena.start(visibility=2, FLOW_APART=apart)
    arena.arm(point, "1", who)
    arena.send("1")
    arena.wait_executing("1")
    arena.send("2")
    arena.wait_held("2")

    arena.let_go("1", "2")
    die(worker, who)

    arena.wait_done()
    arena.wait(lambda arena: not arena.left, "nothing waits any more")
    assert arena.most == 1
    assert arena.ended["2"] == 1
    assert arena.ended["1"] == 1 or who == "worker"


def test_the_next_gets_its_place_though_the_relay_dies_that_gives_it(
    arena: Arena, die: Callable[[CeleryWorker, str], None]
) -> None:
    first = arena.start(children=1, visibility=2)
    arena.send("1")
    arena.wait_executing("1")
    second = arena.start(children=1, visibility=2)
    arena.arm("drained", "2", "worker")
    arena.send("2")
    arena.wait_held("2")

    first.kill()
    arena.let_go("1", "2")
    die(second, "worker")

    arena.wait_done()
    assert arena.most == 1
    assert arena.ended["2"] == 1
