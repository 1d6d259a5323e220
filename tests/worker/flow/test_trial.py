"""The trial of limits in its quick form."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.processes import ROOT

REDIS, RABBITMQ = "redis", "rabbitmq"


@pytest.mark.worker
@pytest.mark.parametrize(
    ("kind", "pool", "broker"),
    [
        ("killed", "prefork", REDIS),
        ("killed", "threads", RABBITMQ),
        ("throttle", "prefork", RABBITMQ),
        pytest.param("killed", "threads", REDIS, marks=pytest.mark.matrix),
        pytest.param("killed", "prefork", RABBITMQ, marks=pytest.mark.matrix),
        pytest.param("throttle", "threads", REDIS, marks=pytest.mark.matrix),
    ],
)
def test_a_limit_holds_though_workers_are_killed(kind: str, pool: str, broker: str) -> None:
    # Its app would be the current one of other tests in this process.
    command = [sys.executable, "-m", "tests.worker.flow", "--quick"]
    one = ["--only", kind, "--pool", pool, "--broker", broker]
    done = subprocess.run([*command, *one], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "violations: 0" in done.stdout
