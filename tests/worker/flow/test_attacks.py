"""Whatever happens to workers, no more bodies execute than may, and no call is lost."""

from __future__ import annotations

import time

import pytest

from tests.support.processes import wait_until
from tests.support.proxy import Proxy
from tests.worker.flow.app import AT_ONCE, PERIOD, STARTS
from tests.worker.flow.arena import Arena, stopped
from tests.worker.flow.verdict import most_in_window, starts

_HOUR = 3_600.0


# -- workers that are stopped -------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_body_that_was_stopped_past_its_lease_is_fenced(arena: Arena, pool: str) -> None:
    first = arena.start(pool, 1)
    arena.send("1")
    arena.wait_executing("1")
    arena.start(pool, 1)
    arena.send("2")
    arena.wait_held("2")

    with stopped(first):
        arena.wait_executing("2")

    arena.wait(lambda arena: ("gone", "1") in arena.words, "the first body is interrupted")
    assert "2" in arena.executing
    arena.let_go("2")
    arena.wait_done("2")
    assert arena.ended == {"2": 1}
    arena.wait(lambda arena: arena.state("1") == "failed", "the first run has failed")
    assert arena.error("1") == "LeaseLostError"


def test_a_body_that_was_stopped_keeps_a_place_that_nobody_wants(arena: Arena) -> None:
    worker = arena.start(children=1)
    arena.send("1")
    arena.wait_executing("1")

    with stopped(worker):
        time.sleep(2.5)  # longer than its lease
    arena.let_go("1")

    arena.wait_done()
    assert arena.words == [("enter", "1"), ("leave", "1")]


def test_a_body_keeps_its_place_for_longer_than_a_lease(arena: Arena) -> None:
    arena.start()
    arena.send("1")
    arena.wait_executing("1")
    arena.send("2")
    arena.wait_held("2")

    time.sleep(3.5)

    assert arena.executing == {"1"}
    arena.let_go("1", "2")
    arena.wait_done()
    assert arena.most == 1


# -- two deliveries of one run ------------------------------------------------------------------


def test_a_run_that_is_delivered_again_while_it_executes_counts_for_each(arena: Arena) -> None:
    """Redis gives the message to another worker once its ``visibility_timeout`` is over."""
    first, second = arena.start(children=1, visibility=1), arena.start(children=1, visibility=1)
    arena.send("1")
    arena.wait_executing("1")

    run = arena.runs["1"]
    wait_until(lambda: sum(w.logs().count(f"[{run}] received") for w in (first, second)) > 1)
    time.sleep(1)
    arena.let_go("1")

    arena.wait_done()
    arena.wait(lambda arena: not arena.left, "nothing waits any more")
    assert arena.most == 1


# -- versions, clocks, and a store that is away -------------------------------------------------


def test_of_two_versions_of_a_limit_neither_is_passed_by_more_than_the_other(arena: Arena) -> None:
    old = arena.start("threads", 6, FLOW_AT_ONCE=4)
    arena.start("threads", 6, FLOW_AT_ONCE=2)
    arena.send(*(f"{n}" for n in range(60)), to="sync", seconds=0.05)
    arena.wait_done()
    assert arena.most <= 4

    old.stop()
    before = len(arena.witness.events())
    arena.send(*(f"{n}" for n in range(60, 80)), to="sync", seconds=0.05)

    arena.wait_done()
    after = [word for word, _ in arena.words[before:]]
    assert max(after[:n].count("enter") - after[:n].count("leave") for n in range(41)) == 2


@pytest.mark.parametrize("arena", [AT_ONCE], indirect=True)
def test_clocks_that_are_an_hour_wrong_change_nothing(arena: Arena) -> None:
    arena.start("threads", 6, FLOW_CLOCK=_HOUR)
    arena.start("threads", 6, FLOW_CLOCK=-_HOUR)
    calls = [f"{n}" for n in range(30)]
    began = time.monotonic()
    arena.send(*(f"sync-{n}" for n in calls), to="sync", seconds=0.1)
    arena.send(*(f"notify-{n}" for n in calls), to="notify", customer="b")

    arena.wait_done()
    assert arena.most == AT_ONCE
    times = starts(arena.witness.events())["b"]
    assert most_in_window(times, PERIOD / 4) <= STARTS / 4 + 1  # one may be late
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("arena", [AT_ONCE], indirect=True)
def test_a_store_that_is_away_for_a_while_lets_nobody_pass(arena: Arena) -> None:
    with Proxy(arena.url) as proxy:
        arena.start("threads", 8, defer_store_url=proxy.url)
        arena.send(*(f"{n}" for n in range(40)), to="sync", seconds=0.1)
        arena.wait(lambda arena: len(arena.ended) > 10, "some have ended")

        proxy.cut()
        arena.send(*(f"{n}" for n in range(40, 80)), to="sync", seconds=0.1)
        time.sleep(2.5)
        proxy.mend()

        arena.wait_done()
    assert arena.most == AT_ONCE
    assert arena.ended == {f"{n}": 1 for n in range(80)}


# -- neighbours that cannot run -----------------------------------------------------------------


def test_a_held_run_whose_queue_nobody_reads_does_not_keep_others_waiting(arena: Arena) -> None:
    arena.start()
    special = arena.start(queues="special")
    arena.send("1")
    arena.wait_executing("1")
    arena.send("2", queue="special")
    arena.wait_held("2")
    arena.send("3")
    arena.wait_held("3")
    special.stop()

    arena.let_go("1", "2", "3")

    arena.wait_done("1", "3")
    special.start()
    arena.wait_done("2")
    assert arena.most == 1


def test_a_held_run_whose_function_no_worker_has_does_not_keep_others_waiting(arena: Arena) -> None:
    worker = arena.start()
    arena.send("1")
    arena.wait_executing("1")
    arena.send("2")
    arena.wait_held("2")
    arena.send("3", to="sync", seconds=0)  # of another function, and of the same customer
    arena.wait_done("3")
    worker.kill()
    arena.start(FLOW_UNKNOWN="gated")

    arena.let_go("1", "2")
    arena.send("4", "5", to="sync", seconds=0)

    arena.wait_done("4", "5")
    arena.wait(lambda arena: arena.error("2") == "NotRegistered", "it has failed")
    assert arena.ended == {"3": 1, "4": 1, "5": 1}
