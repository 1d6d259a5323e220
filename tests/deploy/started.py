"""Programs of examples/deploy that run here: on a Redis and a port of the test's own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.deploy.files import DEPLOY, Program
from tests.support.processes import ROOT, Process
from tests.support.redis import Server

__all__ = ["environment", "fails", "passes", "started"]

_BIN = Path(sys.executable).parent
_URL = re.compile(r"^rediss?://[^/]+(/\d+).*$")


def environment(program: Program, server: Server, folder: Path) -> dict[str, str]:
    """Return what the file says, with *server* in place of its Redis, and *folder* of /tmp."""
    own = {name: _URL.sub(rf"{server.url}\1", value) for name, value in program.environment.items()}
    own["HEALTH_FILE"] = str(folder / "worker-is-alive")
    path = os.pathsep.join([str(_BIN), os.environ["PATH"]])
    return {**own, "PATH": path, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}


def started(program: Program, env: Mapping[str, str], *options: str, ready: str) -> Process:
    """Return its process, not started yet; *options* follow its own."""
    command = [str(_BIN / program.command[0]), *program.command[1:], *options]
    return Process(command, ready=ready, env=env, cwd=DEPLOY)


def passes(command: list[str], env: Mapping[str, str]) -> bool:
    """Return whether a probe says yes."""
    status = subprocess.run(command, cwd=DEPLOY, env=dict(env), timeout=10, check=False).returncode
    assert status in (0, 1), status
    return status == 0


def fails(command: list[str], env: Mapping[str, str]) -> bool:
    return not passes(command, env)
