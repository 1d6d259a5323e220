"""The workers, and how they die."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.support import commit
from tests.support.processes import CeleryWorker

__all__ = ["Fleet", "fleet"]

_POOLS = (("prefork", "2"), ("threads", "4"), ("prefork", "2"))
_START_SECONDS = 60
_END_SECONDS = 20
#: How many of ten kills hit a whole worker.
_WHOLE = 2
#: A child's own, before and after it publishes: see app.py.
_RISK = "0.02"


class _Worker(CeleryWorker):
    def __init__(self, number: int, url: str, way: str, folder: Path) -> None:
        self.pool, concurrency = _POOLS[number]
        urls = {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url}
        super().__init__(
            "tests.worker.soak.app",
            f"soak-{number}@localhost",
            *("--pool", self.pool, "--concurrency", concurrency),
            env={**urls, "SOAK_RISK": _RISK, commit.VARIABLE: way},
            folder=folder / f"worker-{number}",
        )


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
        for worker in self.workers:
            worker.await_ready(_START_SECONDS)

    def kill_one(self) -> None:
        """Kill a pool's child, or a whole worker, which is started again."""
        up = [worker for worker in self.workers if worker.is_ready]
        if not up:
            return
        worker = self.random.choice(up)
        children = worker.children() if worker.pool == "prefork" else []
        if children and self.random.randrange(10) >= _WHOLE:
            self._kill(self.random.choice(children), "child of prefork")
        elif not children and self.random.randrange(10) >= 2 * _WHOLE:
            return  # each hit on threads is a whole worker: fewer of them
        else:
            self._kill(worker.pid, f"whole {worker.pool} worker")
            worker.wait()
            worker.start()

    def revive(self) -> None:
        """Start what has ended by itself."""
        for worker in self.workers:
            if not worker.is_running:
                self.kills["ended by itself"] += 1
                worker.start()

    def stop(self) -> None:
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.stop(_END_SECONDS)

    def count_in_logs(self, **phrases: str) -> dict[str, int]:
        """Return how many lines of all logs contain each phrase."""
        found = dict.fromkeys(phrases, 0)
        for log in self.folder.glob("*/log-*"):
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
    """Give workers on the Redis database at *url*, all started; none is left behind.

    The ways to commit take turns among them, in an order that *random* draws.
    """
    folder = Path(tempfile.mkdtemp(prefix="celery-defer-soak-"))
    places = range(len(_POOLS))
    ways = [commit.WAYS[place % len(commit.WAYS)] for place in places]
    random.shuffle(ways)
    workers = [_Worker(number, url, ways[number], folder) for number in places]
    own = Fleet(random, workers, folder)
    try:
        own.start()
        yield own
    finally:
        own.stop()
        if keep_logs is not None:
            shutil.copytree(folder, keep_logs, dirs_exist_ok=True)
        shutil.rmtree(folder)
