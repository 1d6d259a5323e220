"""Limits on real workers: runs are held, woken, and fenced."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from celery_defer import run_id
from tests.support.processes import Process, wait_until
from tests.worker.caller import Caller
from tests.worker.local import LocalWorker
from tests.worker.waiting import watched

POOLS = ("prefork", "threads", "gevent")


@pytest.fixture(scope="module")
def workers(start_module_worker: Callable[..., LocalWorker]) -> dict[str, LocalWorker]:
    return {
        pool: start_module_worker(
            f"limits-{pool}", "--pool", pool, "--concurrency", "3", "-E", app="tests.worker.limited"
        )
        for pool in POOLS
    }


@pytest.fixture(params=POOLS)
def c(
    request: pytest.FixtureRequest,
    workers: dict[str, LocalWorker],
    caller_of: Callable[[LocalWorker], Caller],
) -> Caller:
    workers[request.param].ready()
    return caller_of(workers[request.param])


@pytest.fixture
def prefork(workers: dict[str, LocalWorker], caller_of: Callable[[LocalWorker], Caller]) -> Caller:
    workers["prefork"].ready()
    return caller_of(workers["prefork"])


@pytest.fixture(scope="module")
def patient_worker(start_module_worker: Callable[..., LocalWorker]) -> LocalWorker:
    """A worker whose places are lost much later than a test waits."""
    return start_module_worker(
        "limits-patient", "--concurrency", "2", app="tests.worker.limited",
        env={"DEFER_TEST_CONFIG": '{"defer_lease": 600}'},
    )  # fmt: skip


@pytest.fixture
def patient(patient_worker: LocalWorker, caller_of: Callable[[LocalWorker], Caller]) -> Caller:
    patient_worker.ready()
    return caller_of(patient_worker)


@pytest.fixture
def key() -> str:
    return uuid4().hex


def send(c: Caller, key: str, *acts: str, name: str = "limited.work") -> list[str]:
    """Defer runs with these acts, and return their ids."""
    calls = [(f"c{n}", name, {"key": key, "act": act}) for n, act in enumerate(acts)]
    parent = c.send("limited.parent", calls)
    return [run_id(parent, f"c{n}") for n in range(len(acts))]


def states(c: Caller, runs: list[str]) -> list[str]:
    return [c.meta(run)["status"] for run in runs]


def has_started(c: Caller, run: str) -> bool:
    return bool(c.redis.get(f"begun:{run}"))


def holding(c: Caller, key: str) -> str:
    """Return a run that has started and holds its place until it is let go."""
    (run,) = send(c, key, "hold")
    wait_until(lambda: c.redis.llen(f"order:{key}") == 1, "it runs")
    return run


def let_go_in_turn(c: Caller, key: str, count: int) -> list[str]:
    """Let so many runs go, each when it has its place; return them in the order of their starts."""
    for done in range(count):
        wait_until(lambda n=done: c.redis.llen(f"order:{key}") == n + 1, "the next one starts")
        c.go(c.redis.lindex(f"order:{key}", done))
    return list(c.redis.lrange(f"order:{key}", 0, -1))


def share(c: Caller, customer: str, line: str) -> str:
    parent = c.send("limited.parent", [("c0", "limited.shared", {"key": customer, "line": line})])
    return run_id(parent, "c0")


def beat_of(worker: LocalWorker, folder: Path, name: str, payload: dict[str, str]) -> Process:
    """Return a ``celery beat`` that sends a task to the worker, five times a second."""
    entry = {"task": name, "kwargs": payload, "schedule": 0.2}
    return Process(
        [
            *(sys.executable, "-m", "celery", "-A", "tests.worker.limited", "beat"),
            *("--loglevel", "DEBUG", "--pidfile="),
        ],
        ready="beat: Starting",
        env={**worker.env, "DEFER_TEST_CONFIG": json.dumps({"beat_schedule": {"entry": entry}})},
        cwd=folder,
    )


def sent_by(beat: Process) -> list[str]:
    """Return the runs that beat has sent; its log says so of each."""
    return re.findall(r" sent\. id->(\S+)", beat.logs())


def test_one_runs_at_a_time_and_the_others_are_held_and_woken_in_order(c: Caller, key: str) -> None:
    runs = send(c, key, "hold", "hold", "hold")
    wait_until(lambda: sorted(states(c, runs))[:2] == ["HELD", "HELD"], "two are held")

    let_go_in_turn(c, key, 3)

    assert [c.result(run) for run in runs] == [key] * 3
    assert c.redis.lrange(f"seen:{key}", 0, -1) == ["1", "1", "1"]


def test_keys_take_turns_for_a_place_that_they_share(prefork: Caller, key: str) -> None:
    c, many, few = prefork, "many", "few"
    runs = [share(c, many, key)]
    wait_until(lambda: c.redis.llen(f"order:{key}") == 1, "the first one runs")
    for customer in [many] * 5 + [few] * 2:
        runs.append(share(c, customer, key))
        wait_until(lambda: c.meta(runs[-1])["status"] == "HELD", "it is held")

    order = let_go_in_turn(c, key, len(runs))

    customers = dict(zip(runs, [c.result(run) for run in runs], strict=True))
    assert [{customers[run] for run in order[at : at + 2]} for at in (1, 3)] == [{many, few}] * 2
    assert sorted(order, key=customers.__getitem__) == runs[6:] + runs[:6]
    assert set(c.redis.lrange(f"seen:{key}", 0, -1)) == {"1"}


def test_limits_for_all_hold_for_what_beat_sends(
    workers: dict[str, LocalWorker], prefork: Caller, key: str, tmp_path: Path
) -> None:
    c = prefork
    with beat_of(workers["prefork"], tmp_path, "limited.whoever", {"key": key}) as beat:
        wait_until(lambda: states(c, sent_by(beat)).count("HELD") >= 2, "two are held")
        beat.stop()
        runs = sent_by(beat)

    order = let_go_in_turn(c, key, len(runs))

    assert [c.result(run) for run in runs] == [key] * len(runs)
    assert sorted(order) == sorted(runs)
    assert set(c.redis.lrange(f"seen:{key}", 0, -1)) == {"1"}


def test_a_run_that_waits_at_a_step_lets_others_go_first(c: Caller, key: str) -> None:
    (napping,) = send(c, key, "nap")
    wait_until(lambda: c.meta(napping)["status"] == "WAITING", "it naps")
    running = holding(c, key)
    wait_until(lambda: c.meta(napping)["status"] == "HELD", "the first one is held")

    c.go(running)

    assert c.result(napping) == key


def test_an_invoked_run_is_held_and_its_result_arrives(c: Caller, key: str) -> None:
    running = holding(c, key)
    invoker = c.send("limited.invoker", key)
    wait_until(lambda: c.meta(invoker)["status"] == "WAITING", "the invoker waits")

    c.go(running)

    assert c.result(invoker) == key


def test_flower_shows_that_a_run_is_held_and_then_how_it_goes_on(prefork: Caller, key: str) -> None:
    c = prefork
    with watched(c.app) as view:
        running = holding(c, key)
        (held,) = send(c, key, "return")
        wait_until(lambda: "HELD" in view.states(held), "the other is shown as held")
        c.go(running)
        c.result(held)
        wait_until(lambda: view.states(held)[-1] == "SUCCESS", "its end is shown")


def test_the_last_of_many_calls_runs_and_the_others_are_replaced(c: Caller, key: str) -> None:
    calls = [(f"c{n}", "limited.last", {"key": key, "n": n}) for n in range(5)]
    parent = c.send("limited.parent", calls)
    runs = [run_id(parent, f"c{n}") for n in range(5)]

    ends = ["REPLACED"] * 4 + ["SUCCESS"]
    wait_until(lambda: sorted(states(c, runs)) == sorted(ends), "one runs")
    assert states(c, runs) == ends


def test_a_run_whose_process_is_killed_gets_its_place_again_at_once(
    patient: Caller, key: str
) -> None:
    (dying,) = send(patient, key, "die-once")

    assert patient.result(dying) == key


def test_a_run_that_runs_out_of_time_gives_back_its_place(patient: Caller, key: str) -> None:
    (late,) = send(patient, key, "sleep", name="limited.slow")
    assert patient.end(late)["status"] == "FAILURE"

    (other,) = send(patient, key, "return", name="limited.slow")

    assert patient.result(other) == key


def test_a_worker_that_stands_still_is_fenced_and_its_run_fails(
    start_module_worker: Callable[..., LocalWorker],
    caller_of: Callable[[LocalWorker], Caller],
    prefork: Caller,
    key: str,
) -> None:
    (spinning,) = send(prefork, key, "spin")
    pid = int(wait_until(lambda: prefork.redis.get(f"pid:{key}"), "it runs"))
    (waiting,) = send(prefork, key, "hold")
    wait_until(lambda: prefork.meta(waiting)["status"] == "HELD", "another one waits")

    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: prefork.redis.llen(f"order:{key}") == 1, "it gets the place")
    finally:
        os.kill(pid, signal.SIGCONT)

    end = prefork.end(spinning)
    assert end["status"] == "FAILURE"
    assert type(end["result"]).__name__ == "LeaseLostError"
    prefork.go(waiting)
    assert prefork.result(waiting) == key


def test_a_run_that_was_fenced_can_be_retried(prefork: Caller, key: str) -> None:
    parent = prefork.send("limited.parent", [("c0", "limited.again", {"key": key})])
    pid = int(wait_until(lambda: prefork.redis.get(f"pid:{key}"), "it runs"))
    again = prefork.send("limited.parent", [("c1", "limited.again", {"key": key})])
    other = run_id(again, "c1")
    wait_until(lambda: prefork.meta(other)["status"] == "HELD", "another one waits")

    os.kill(pid, signal.SIGSTOP)
    try:
        assert prefork.result(other) == 2
    finally:
        os.kill(pid, signal.SIGCONT)

    assert prefork.result(run_id(parent, "c0")) == 3


def test_a_run_that_takes_longer_than_its_lease_keeps_its_place(c: Caller, key: str) -> None:
    first = holding(c, key)
    (second,) = send(c, key, "return")
    wait_until(lambda: c.meta(second)["status"] == "HELD", "the other one is held")
    began = c.redis.time()[0]

    wait_until(lambda: c.redis.time()[0] - began >= 5, "two leases are over")

    assert c.meta(second)["status"] == "HELD"
    c.go(first)
    assert [c.result(first), c.result(second)] == [key, key]


def test_a_revoked_run_that_is_held_ends(c: Caller, key: str) -> None:
    first, second = send(c, key, "hold", "hold")
    wait_until(lambda: "HELD" in states(c, [first, second]), "one is held")
    held, running = (second, first) if c.meta(second)["status"] == "HELD" else (first, second)

    c.revoke(held)

    assert c.end(held)["status"] == "REVOKED"
    c.go(running)
    assert c.result(running) == key
