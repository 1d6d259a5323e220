"""``celery defer``, as a person runs it beside a worker."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from pytest_celery import CeleryTestWorker

from celery_defer import run_id
from tests.support.processes import ROOT, wait_until
from tests.worker.local import LocalWorker
from tests.worker.waiting import Client

APP = "tests.worker.stepping"
PREFIX = "command-line:"

Defer = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def worker(redis_url: str) -> Iterator[LocalWorker]:
    env = {
        "CELERY_BROKER_URL": redis_url,
        "CELERY_RESULT_BACKEND": redis_url,
        "DEFER_TEST_CONFIG": json.dumps({"defer_key_prefix": PREFIX, "result_extended": True}),
    }
    worker = LocalWorker(f"cli-{uuid4().hex[:6]}", "--pool", "solo", app=APP, env=env)
    try:
        worker.ready()
        yield worker
    finally:
        worker.teardown()


@pytest.fixture
def client(worker: LocalWorker, redis_url: str) -> Iterator[Client]:
    app = Celery("client", broker=redis_url, backend=redis_url, set_as_current=False)
    with Client(app, CeleryTestWorker(worker, app), prefix=PREFIX) as client:
        yield client


@pytest.fixture
def defer(worker: LocalWorker) -> Defer:
    """Runs a command with the worker's app and settings."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "celery", "-A", APP, "defer", *words],
            cwd=ROOT, env=worker.env, capture_output=True, text=True, check=False, timeout=30,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return run


def read(defer: Defer, *words: str) -> Any:
    printed = defer(*words, "--json")
    assert printed.returncode == 0, printed
    return json.loads(printed.stdout)


def test_from_a_run_to_its_tree_to_the_event_that_wakes_it(client: Client, defer: Defer) -> None:
    event = f"news/{uuid4().hex}"
    run = client.play(["defer"], ["do", "one"], ["wait", event, 300])
    client.waits(run)

    [waiting] = read(defer, "waiting", "--event", event)["rows"]
    assert (waiting["run"]["id"], waiting["step"]) == (run, "news")
    assert f"waits for  event {event}, at step 'news'" in defer("show", run).stdout

    sent = defer("send-event", event, '{"n": 7}')
    assert (sent.returncode, sent.stdout) == (0, "1 run woken\n")
    assert client.result(run)["got"][2] == {"n": 7}
    client.result(run_id(run, "follow-up"))

    lines = defer("tree", run).stdout.splitlines()
    assert lines[0].startswith("steps.plain  succeeded  ")
    assert lines[1].startswith("└─ follow-up: steps.follow_up  succeeded  ")
    newest = read(defer, "runs", "--task", "steps.plain", "--limit", "5")["rows"]
    assert run in [row["id"] for row in newest]


def test_wake_ends_a_wait(client: Client, defer: Defer) -> None:
    run = client.play(["sleep", 3_000], ["do", "one"])
    client.waits(run)

    assert defer("wake", run).returncode == 0
    assert client.result(run)["got"] == [None, "one"]
    assert client.redis.get(f"step-one:{run}") == "1"


def test_a_failed_run_goes_on_from_a_step(client: Client, defer: Defer) -> None:
    run = client.play(["do", "one"], ["do", "two"], ["sleep", 0.1], ["fail"])
    client.becomes(run, "FAILURE")

    done = defer("restart", run, "--from", "two", "--yes")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"run {run} goes on. These steps are run again: two, nap.\n"
    wait_until(lambda: client.redis.get(f"step-two:{run}") == "2", "the step is done again")
    client.becomes(run, "FAILURE")
    assert client.redis.get(f"step-one:{run}") == "1"


def test_a_cancelled_run_has_ended_and_can_be_restarted(client: Client, defer: Defer) -> None:
    run = client.play(["do", "one"], ["sleep", 3_000])
    client.waits(run)

    assert defer("cancel", run, "--yes").stdout == f"run {run} has ended\n"
    client.becomes(run, "REVOKED")
    assert defer("restart", run, "--yes").returncode == 0
    client.waits(run)  # its wait was not over
    assert defer("wake", run).returncode == 0
    client.result(run)
    assert client.redis.get(f"step-one:{run}") == "1"


def test_check_sees_the_relay_of_the_worker(
    worker: LocalWorker, client: Client, defer: Defer
) -> None:
    client.settle()
    printed = read(defer, "check", "--live", "--fail-level", "error")

    facts = printed["facts"]
    assert facts[f"worker {worker.hostname}"].startswith("its relay looked ")
    assert facts["server"].startswith("Redis ")
    [values] = printed["values"]["workers"]
    assert values["name"] == worker.hostname
    assert 0 <= values["relay_silent_seconds"] < 90
    assert abs(values["clock_ahead_seconds"]) < 5
    assert [each for each in printed["problems"] if each["level"] == "error"] == []


def test_a_person_is_asked_before_work_is_dropped(
    worker: LocalWorker, client: Client, defer: Defer
) -> None:
    run = client.play(["sleep", 3_000])
    client.waits(run)

    assert defer("cancel", run).returncode == 2
    assert "Cancel run" in _on_a_terminal(worker, "cancel", run, answer="n")
    assert client.meta(run)["status"] == "WAITING"
    _on_a_terminal(worker, "cancel", run, answer="y")
    client.becomes(run, "REVOKED")


@pytest.mark.parametrize("columns", [80, 200])
def test_a_terminal_shows_tables_in_colours_and_whole_ids(
    worker: LocalWorker, client: Client, columns: int
) -> None:
    run = client.play(["sleep", 0.1])  # a run that does not wait has no record
    client.result(run)

    printed = _on_a_terminal(worker, "runs", "--limit", "3", columns=columns)

    assert "\x1b[32msucceeded" in printed
    assert run in printed


def test_watch_ends_with_ctrl_c(worker: LocalWorker, client: Client) -> None:
    client.result(client.play(["sleep", 0.1]))

    ours, its = pty.openpty()
    process = _start(worker, its, "watch", "--interval", "0.1")
    shown = b""
    while b"steps.plain" not in shown:
        shown += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    with suppress(OSError):
        while os.read(ours, 4096):
            pass

    assert process.wait(30) == 0
    os.close(ours)


def _start(
    worker: LocalWorker, its: int, *words: str, columns: int = 200
) -> subprocess.Popen[bytes]:
    """Run a command on a terminal, of which *its* is the command's side."""
    command = [sys.executable, "-m", "celery", "-A", APP, "defer", *words]
    env = {**worker.env, "TERM": "xterm-256color", "COLUMNS": str(columns)}
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdin=its, stdout=its, stderr=its)
    os.close(its)
    return process


def _on_a_terminal(worker: LocalWorker, *words: str, answer: str = "", columns: int = 200) -> str:
    """Run a command on a terminal, give it an answer, and return what it shows."""
    ours, its = pty.openpty()
    process = _start(worker, its, *words, columns=columns)
    os.write(ours, f"{answer}\n".encode())
    shown = b""
    with suppress(OSError):  # its side is closed
        while part := os.read(ours, 4096):
            shown += part
    process.wait(30)
    os.close(ours)
    return shown.decode()
