"""A real ``celery worker`` for an example; it ends with the example."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import exceptions

__all__ = ["COMMAND", "ROOT", "Worker", "WorkerError", "running_worker", "started"]

COMMAND = [sys.executable, "-m", "celery"]
# Two processes; events for Flower; no chatter with workers that do not exist.
OPTIONS = ["--concurrency=2", "--pool=prefork", "--task-events", "--loglevel=INFO",
           "--without-gossip", "--without-mingle"]  # fmt: skip
ROOT = Path(__file__).parents[1]


class WorkerError(RuntimeError):
    """The worker does not work."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that runs: its name, its process, and where it writes its log."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise WorkerError if it has ended."""
        if (status := self.process.poll()) is not None:
            raise WorkerError(f"the worker has ended with status {status}")

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])


@contextmanager
def running_worker(app: Any, module: str, *options: str, **environment: str) -> Iterator[Worker]:
    """Start a worker of *module*, whose app is *app*; give it when it is ready, and stop it after.

    Its *options* count more than the usual ones.

    Where the worker fails, or a result does not come, the WorkerError shows the end of its log.
    """
    name = f"{app.main}@example"
    command = [*COMMAND, "-A", module, "worker", *OPTIONS, *options, f"--hostname={name}"]
    with started(name, command, environment) as worker:
        try:
            _wait_until_ready(app, worker)
            yield worker
        except (WorkerError, exceptions.TimeoutError) as error:
            raise WorkerError(f"{error}; the end of its log:\n{worker.log_tail()}") from error


@contextmanager
def started(name: str, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Worker]:
    """Start a process with a log of its own, and stop it after."""
    with tempfile.NamedTemporaryFile(prefix="celery-defer-example-", suffix=".log") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for the example alone, which then stops the worker in good order; and
            # a process group can be killed with all that is in it.
            start_new_session=True,
        )
        try:
            yield Worker(name, process, Path(log.name))
        finally:
            _stop(process)


def _wait_until_ready(app: Any, worker: Worker, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not app.control.ping([worker.name], timeout=0.2):
        worker.check()
        if time.monotonic() > deadline:
            raise WorkerError(f"the worker has not answered for {seconds:.0f} seconds")


def _stop(process: subprocess.Popen[bytes], seconds: float = 15) -> None:
    try:
        process.terminate()
        process.wait(seconds)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        pass  # impatience, the machine's or the user's: it is killed below
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
