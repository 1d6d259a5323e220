"""The workers, and how they die."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

__all__ = ["Fleet", "fleet"]

_ROOT = Path(__file__).parents[3]
_POOLS = (("prefork", "2"), ("threads", "4"), ("prefork", "2"))
_PATIENCE = 60
#: How many of ten kills hit a whole worker.
_WHOLE = 2
#: A child's own, before and after it publishes: see app.py.
_RISK = "0.02"


@dataclass
class _Worker:
    number: int
    pool: str
    concurrency: str
    folder: Path
    url: str
    process: subprocess.Popen[bytes] = field(init=False)
    starts: int = 0

    def start(self) -> None:
        self.starts += 1
        scratch = self.folder / f"tmp-{self.number}"  # billiard leaves a folder behind
        scratch.mkdir(exist_ok=True)
        urls = {"CELERY_BROKER_URL": self.url, "CELERY_RESULT_BACKEND": self.url}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "-A", "tests.worker.soak.app", "worker"),
                    *("--pool", self.pool, "--concurrency", self.concurrency),
                    *("--hostname", f"soak-{self.number}@localhost", "--loglevel", "INFO"),
                    *("--without-mingle", "--without-gossip", "--without-heartbeat"),
                ],
                cwd=_ROOT,
                env={
                    **os.environ,
                    **urls,
                    "PYTHONPATH": str(_ROOT),
                    "TMPDIR": str(scratch),
                    "SOAK_RISK": _RISK,
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> Path:
        return self.folder / f"log-{self.number}-{self.starts}"

    @property
    def is_up(self) -> bool:
        return b" ready." in self.log.read_bytes()

    def end(self) -> None:
        """Wait for a worker that was told to stop, but not for ever."""
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()] if path.exists() else []


@dataclass
class Fleet:
    """All workers of a soak, one of which may be dead at any moment."""

    random: Random
    workers: list[_Worker]
    folder: Path
    kills: Counter[str] = field(default_factory=Counter)
    killed: set[int] = field(default_factory=set)

    def start(self) -> None:
        for worker in self.workers:
            worker.start()
        deadline = time.monotonic() + _PATIENCE
        while not all(worker.is_up for worker in self.workers):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the workers are not up:\n{self.workers[0].log.read_text()}")
            time.sleep(0.1)

    def kill_one(self) -> None:
        """Kill a pool's child, or a whole worker, which is started again."""
        up = [worker for worker in self.workers if worker.is_up]
        if not up:
            return
        worker = self.random.choice(up)
        children = worker.children() if worker.pool == "prefork" else []
        if children and self.random.randrange(10) >= _WHOLE:
            self._kill(self.random.choice(children), "child of prefork")
        elif not children and self.random.randrange(10) >= 2 * _WHOLE:
            return  # each hit on threads is a whole worker: fewer of them
        else:
            self._kill(worker.process.pid, f"whole {worker.pool} worker")
            worker.process.wait()
            worker.start()

    def revive(self) -> None:
        """Start what has ended by itself."""
        for worker in self.workers:
            if worker.process.poll() is not None:
                self.kills["ended by itself"] += 1
                worker.start()

    def stop(self) -> None:
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.end()

    def count_in_logs(self, **phrases: str) -> dict[str, int]:
        """Answer how many lines of all logs contain each phrase."""
        found = dict.fromkeys(phrases, 0)
        for log in self.folder.glob("log-*"):
            for line in log.read_text(errors="replace").splitlines():
                for name, phrase in phrases.items():
                    found[name] += phrase in line
        return found

    def _kill(self, pid: int, kind: str) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.kills[kind] += 1
        self.killed.add(pid)


@contextmanager
def fleet(url: str, random: Random, keep_logs: Path | None = None) -> Iterator[Fleet]:
    """Give workers on the Redis database at *url*, all started; none is left behind."""
    folder = Path(tempfile.mkdtemp(prefix="celery-defer-soak-"))
    workers = [
        _Worker(number, pool, concurrency, folder, url)
        for number, (pool, concurrency) in enumerate(_POOLS)
    ]
    own = Fleet(random, workers, folder)
    try:
        own.start()
        yield own
    finally:
        own.stop()
        if keep_logs is not None:
            shutil.copytree(folder, keep_logs, dirs_exist_ok=True)
        shutil.rmtree(folder)
