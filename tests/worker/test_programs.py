"""The test kit and a real worker do the same with one program of steps, events, calls and time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from celery import Celery
from pytest_celery import CeleryTestWorker

from celery_defer.testing import Simulation
from tests.support.processes import wait_until
from tests.worker import programs
from tests.worker.caller import Caller
from tests.worker.local import LocalWorker

SEEDS = range(40)


@pytest.fixture(scope="module")
def expected() -> dict[int, Any]:
    return {seed: simulated(programs.program(seed)) for seed in SEEDS}


@pytest.fixture(scope="module")
def worker(redis_url: str) -> Iterator[LocalWorker]:
    places = {"CELERY_BROKER_URL": redis_url, "CELERY_RESULT_BACKEND": redis_url}
    worker = LocalWorker("programs", "--concurrency", "1", env=places, app="tests.worker.programs")
    yield worker
    worker.terminate()
    worker.teardown()


@pytest.fixture(scope="module")
def actual(worker: LocalWorker, redis_url: str, expected: dict[int, Any]) -> dict[int, Any]:
    """The outcome of each program on a worker, as soon as it is the expected one, or at last."""
    app = Celery("client", broker=redis_url, backend=redis_url, set_as_current=False)
    with Caller(app, CeleryTestWorker(worker, app)) as caller:
        runs = {seed: caller.send("programs.parent", programs.program(seed)) for seed in SEEDS}

        def outcomes() -> dict[int, Any]:
            for run in runs.values():
                caller.result(caller.send("programs.tell", run))
            return {seed: programs.outcome(app, run) for seed, run in runs.items()}

        with suppress(AssertionError):  # the tests say which
            wait_until(lambda: outcomes() == expected, "the worker has done as the kit", 60)
        return outcomes()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_worker_does_as_the_kit(
    seed: int, expected: dict[int, Any], actual: dict[int, Any]
) -> None:
    assert actual[seed] == expected[seed], programs.program(seed)


def simulated(rows: programs.Program) -> Any:
    with Simulation(programs.app) as sim:
        root = sim.run(programs.parent, rows)
        for _ in range(60):
            sim.advance(1)
            sim.send_event(programs.OUTSIDE, {"of": root.id, "n": 5})
        assert all(run.state not in ("PENDING", "WAITING", "RETRY") for run in sim.runs)
        return programs.outcome(programs.app, root.id)
