"""The commands of examples/deploy, run as they stand there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from celery import Celery
from celery.result import AsyncResult

from celery_defer import run_id
from tests.deploy.files import DEPLOY, KINDS, kubernetes
from tests.deploy.started import environment, fails, passes, started
from tests.support.processes import Process, wait_until
from tests.support.redis import Server, free_port

pytestmark = pytest.mark.worker

POD = kubernetes("worker")
READY, LIVE = POD.probes["readinessProbe"], POD.probes["livenessProbe"]
TASKS = "--include=tests.deploy.tasks"


@pytest.fixture
def env(server: Server, tmp_path: Path) -> dict[str, str]:
    return environment(POD, server, tmp_path)


@pytest.fixture
def worker(env: dict[str, str]) -> Iterator[Process]:
    """The worker of the pod."""
    with started(POD, env, TASKS, ready=" ready.") as worker:
        yield worker
        worker.kill()  # a warm stop takes seconds


@pytest.fixture
def client(env: dict[str, str]) -> Celery:
    client = Celery("client", broker=env["BROKER_URL"], backend=env["RESULT_BACKEND"])
    client.set_default()
    return client


# -- they do their work --------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_order_has_its_receipt(kind: str, server: Server, tmp_path: Path) -> None:
    program = KINDS[kind]("worker")
    env = environment(program, server, tmp_path)
    client = Celery("client", broker=env["BROKER_URL"], backend=env["RESULT_BACKEND"])

    with started(program, env, ready=" ready.") as worker:
        order = client.send_task("shop.process_order", [7, "ada@example.com"])
        assert order.get(timeout=20) == 7
        receipt = AsyncResult(run_id(order.id, "receipt"), app=client)
        assert receipt.get(timeout=20) == "receipt 7 to ada@example.com"
        worker.kill()


@pytest.mark.parametrize("kind", KINDS)
def test_flower_replies_to_its_probe(kind: str, server: Server, tmp_path: Path) -> None:
    program, port = KINDS[kind]("flower"), free_port()
    path = kubernetes("flower").probes["livenessProbe"]
    env = environment(program, server, tmp_path)

    with started(program, env, f"--port={port}", ready="Connected to"):
        assert urlopen(f"http://127.0.0.1:{port}{path}").status == 200


# -- what the probes see -------------------------------------------------------------------


def test_a_worker_that_takes_tasks_is_ready(worker: Process, env: dict[str, str]) -> None:
    assert passes(READY, env)
    assert passes(LIVE, env)
    assert KINDS["compose"]("worker").probes["readinessProbe"] == READY


def test_a_worker_that_has_stopped_is_neither(worker: Process, env: dict[str, str]) -> None:
    worker.stop()

    assert fails(READY, env)
    assert fails(LIVE, env)


def test_a_worker_that_hangs_is_neither(worker: Process, env: dict[str, str]) -> None:
    with worker.hanging():
        _age(env, seconds=30)

        assert fails(READY, env)
        assert fails(LIVE, env)


def test_the_file_stays_new_while_a_task_runs(
    worker: Process, env: dict[str, str], client: Celery, tmp_path: Path
) -> None:
    path = tmp_path / "go"
    for _ in range(2):  # the pool has two processes
        client.send_task("tests.deploy.tasks.wait_for", [str(path)])
    wait_until(lambda: _begun(path) == 2)
    _age(env, seconds=30)

    wait_until(lambda: passes(READY, env))


def test_without_a_broker_a_worker_is_live_and_not_ready(
    worker: Process, env: dict[str, str], server: Server
) -> None:
    server.stop()
    try:
        wait_until(lambda: fails(READY, env))
        assert passes(LIVE, env)
    finally:
        server.start()

    wait_until(lambda: passes(READY, env))


# -- how they stop -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["kubernetes", "systemd"])
def test_a_stop_waits_for_what_ends_in_time(
    kind: str, worker: Process, env: dict[str, str], client: Celery, tmp_path: Path
) -> None:
    path = tmp_path / "go"
    result = client.send_task("tests.deploy.tasks.wait_for", [str(path)])
    wait_until(lambda: _begun(path))

    with _stopping(kind, worker, env, seconds=30):
        wait_until(lambda: "Warm shutdown" in worker.logs())
        path.touch()

        assert worker.wait() == 0
        assert result.get(timeout=5) == "ended"


@pytest.mark.parametrize("kind", ["kubernetes", "systemd"])
def test_a_stop_gives_back_what_takes_longer(
    kind: str, worker: Process, env: dict[str, str], client: Celery, tmp_path: Path
) -> None:
    path = tmp_path / "go"
    result = client.send_task("tests.deploy.tasks.wait_for", [str(path)])
    wait_until(lambda: _begun(path))

    with _stopping(kind, worker, env, seconds=1):
        worker.wait()

    with started(POD, env, TASKS, ready=" ready.") as other:
        wait_until(lambda: _begun(path) == 2)
        path.touch()
        assert result.get(timeout=20) == "ended"
        other.kill()


def _stopping(kind: str, worker: Process, env: dict[str, str], seconds: int) -> Process:
    """Run the command that stops a worker, with other seconds."""
    stop = KINDS[kind]("worker").stop
    assert stop is not None
    *command, _, _ = stop
    return Process([*command, str(worker.pid), str(seconds)], env=env, cwd=DEPLOY)


def _begun(path: Path) -> int:
    """Return how many tasks wait for *path*."""
    begun = Path(f"{path}-begun")
    return len(begun.read_text().split()) if begun.exists() else 0


def _age(env: dict[str, str], seconds: float) -> None:
    """Make the file of a worker older."""
    file = Path(env["HEALTH_FILE"])
    then = file.stat().st_mtime - seconds
    os.utime(file, (then, then))
