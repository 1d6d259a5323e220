"""pytest-celery's nodes on local processes: what its containers answer, without Docker.

The nodes of pytest-celery ask their container for its name, its log and its settings, and
never for its class; so a service that runs already and a ``celery worker`` subprocess will do.
"""

from __future__ import annotations

import os
import shlex
import signal as signals
import subprocess
from collections.abc import Mapping
from uuid import uuid4

import celery
import redis

from tests.support.processes import ROOT, SECONDS, CeleryWorker

__all__ = ["IN_DOCKER", "LocalService", "LocalWorker"]

#: Whether the shared services and worker run in Docker: see containers.py.
IN_DOCKER = os.environ.get("DEFER_TEST_DOCKER") == "1"


class LocalService:
    """A broker or a result backend that runs already; who started it stops it."""

    status = "running"

    def __init__(self, name: str, url: str) -> None:
        self.name = self.id = name
        self.url = url

    @property
    def celeryconfig(self) -> dict[str, str]:
        return {"url": self.url, "host_url": self.url}

    @property
    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, decode_responses=True)

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
        """Nothing was started."""


class LocalWorker(CeleryWorker):
    """A ``celery worker`` that is started at once, by default of tests.worker.tasks."""

    def __init__(
        self,
        queue: str,
        *options: str,
        env: Mapping[str, str],
        queues: str = "",
        app: str = "tests.worker.tasks",
    ) -> None:
        self.name = self.id = uuid4().hex[:12]
        self._queue = queue
        super().__init__(
            app,
            f"{queue}@{self.id}",
            *("--queues", queues or queue, *options),
            env={"DEFER_TEST_QUEUE": queue, **env},
        )
        self.start()

    @property
    def status(self) -> str:
        return "running" if self.is_running else "exited"

    def ready(self) -> bool:
        self.await_ready()
        return True

    def kill(self, signal: str | int = "SIGKILL") -> None:
        self.signal(signals.Signals[signal] if isinstance(signal, str) else signal)
        self.wait()

    def restart(self, timeout: float = SECONDS) -> None:
        super().restart()

    def reload(self) -> None:
        """Nothing is cached, so nothing is read again."""

    def teardown(self) -> None:
        self.close()

    def exec_run(self, cmd: str) -> tuple[int, bytes]:
        done = subprocess.run(
            shlex.split(cmd), cwd=ROOT, env=self.env, capture_output=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

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
