"""pytest-celery's nodes on local processes: what its containers answer, without Docker.

The nodes of pytest-celery ask their container for its name, its log and its settings, and
never for its class; so a service that runs already and a ``celery worker`` subprocess will do.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from uuid import uuid4

import celery
import redis

__all__ = ["IN_DOCKER", "ROOT", "LocalNode", "LocalService", "LocalWorker", "wait_until"]

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
SECONDS = 20
#: Whether the shared services and worker run in Docker: see containers.py.
IN_DOCKER = os.environ.get("DEFER_TEST_DOCKER") == "1"


def wait_until(condition: Callable[[], T], what: str = "", seconds: float = SECONDS) -> T:
    """Answer the first true answer of *condition*; AssertionError after *seconds*."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"still not so after {seconds} s: {what or condition}"
        time.sleep(0.01)
    return answer


class LocalNode:
    """What pytest-celery asks of a container."""

    def __init__(self, name: str) -> None:
        self.name = self.id = name

    @property
    def status(self) -> str:
        return "running"

    def ready(self) -> bool:
        return True

    def logs(self) -> str:
        return ""

    def kill(self, signal: str | int = "SIGKILL") -> None:
        raise RuntimeError(f"{self.name} was not started here")

    def restart(self, timeout: float = SECONDS) -> None:
        raise RuntimeError(f"{self.name} was not started here")

    def reload(self) -> None:
        """Nothing is cached, so nothing is read again."""

    def teardown(self) -> None:
        """Who started it stops it."""


class LocalService(LocalNode):
    """A broker or a result backend that runs already."""

    def __init__(self, name: str, url: str) -> None:
        super().__init__(name)
        self.url = url

    @property
    def celeryconfig(self) -> dict[str, str]:
        return {"url": self.url, "host_url": self.url}

    @property
    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, decode_responses=True)


class LocalWorker(LocalNode):
    """A ``celery worker`` of *app*, a module that says what *env* may say."""

    #: All that are not torn down yet.
    running: ClassVar[list[LocalWorker]] = []

    def __init__(
        self,
        queue: str,
        *options: str,
        env: Mapping[str, str],
        queues: str = "",
        app: str = "tests.worker.tasks",
    ) -> None:
        super().__init__(uuid4().hex[:12])
        self._queue = queue
        self._env = {**os.environ, "PYTHONPATH": str(ROOT), "DEFER_TEST_QUEUE": queue, **env}
        self._command = [
            *(sys.executable, "-m", "celery", "-A", app, "worker"),
            *(
                "--hostname",
                f"{queue}@{self.id}",
                "--queues",
                queues or queue,
                "--loglevel",
                "INFO",
            ),
            *("--without-mingle", "--without-gossip", "--without-heartbeat"),
            *options,
        ]
        self._folder = Path(tempfile.mkdtemp(prefix=f"celery-defer-{queue}-"))
        self._env["TMPDIR"] = str(self._folder)  # billiard leaves a folder behind
        self._process = self._start()
        self.running.append(self)

    @property
    def status(self) -> str:
        return "running" if self._process.poll() is None else "exited"

    @property
    def pid(self) -> int:
        return self._process.pid

    def ready(self) -> bool:
        """Wait for the worker's own word; AssertionError if it ends before."""
        wait_until(
            lambda: " ready." in self.logs() or self.status == "exited",
            f"worker of {self._queue} up",
        )
        assert self.status == "running", self.logs()
        return True

    def crashed(self) -> None:
        """Wait until the worker was killed; AssertionError if it ended otherwise."""
        assert self._process.wait(SECONDS) == -signal.SIGKILL, self.logs()

    def ended(self) -> int:
        """Wait for a worker that stops by itself, and answer its exit status."""
        return self._process.wait(SECONDS)

    def logs(self) -> str:
        return (self._folder / "log").read_text()

    def kill(self, signal: str | int = "SIGKILL") -> None:
        self._process.send_signal(_number(signal))
        self._process.wait(SECONDS)

    def terminate(self) -> None:
        """Ask the worker to end, and don't wait."""
        self._process.terminate()

    def restart(self, timeout: float = SECONDS) -> None:
        self.revive()
        self.ready()

    def revive(self) -> None:
        """Start it anew, and don't wait."""
        self._stop()
        self._process = self._start()

    def exec_run(self, cmd: str) -> tuple[int, bytes]:
        done = subprocess.run(
            shlex.split(cmd), cwd=ROOT, env=self._env, capture_output=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def teardown(self) -> None:
        if self in self.running:
            self.running.remove(self)
            self._stop()
            shutil.rmtree(self._folder)

    @classmethod
    def version(cls) -> str:
        return str(celery.__version__)

    @classmethod
    def log_level(cls) -> str:
        return "INFO"

    def worker_name(self) -> str:
        return self._queue

    def worker_queue(self) -> str:
        return self._queue

    def _start(self) -> subprocess.Popen[bytes]:
        # A new file, or `ready` would read the last process's word.
        with open(self._folder / "log", "wb") as log:
            return subprocess.Popen(
                self._command, cwd=ROOT, env=self._env, stdout=log, stderr=subprocess.STDOUT
            )

    def _stop(self) -> None:
        if self.status == "exited":
            return
        self.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()  # its children go with it: billiard sets PR_SET_PDEATHSIG
            self._process.wait()


def _number(name: str | int) -> Any:
    return signal.Signals[name] if isinstance(name, str) else name
