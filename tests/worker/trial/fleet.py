"""The workers of a trial, and how they are killed."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

from tests.support import commit
from tests.support.processes import CeleryWorker

__all__ = ["Fleet", "fleet", "two_prefork"]

#: How many of ten kills hit a whole worker.
_WHOLE = 3
_SECONDS = 60


def two_prefork(url: str, broker: str, folder: Path) -> list[CeleryWorker]:
    """Make two prefork workers, which commit in different ways where they can."""
    urls = {"CELERY_BROKER_URL": broker, "CELERY_RESULT_BACKEND": url}
    return [
        CeleryWorker(
            "tests.worker.trial.app",
            f"trial-{number}@localhost",
            *("--pool", "prefork", "--concurrency", "2"),
            env={**urls, commit.VARIABLE: commit.WAYS[number % len(commit.WAYS)]},
            folder=folder / f"worker-{number}",
        )
        for number in range(2)
    ]


class Fleet:
    """The workers of a trial, one of which may be dead at any moment."""

    def __init__(self, workers: Sequence[CeleryWorker], random: Random) -> None:
        self.kills: Counter[str] = Counter()
        self.workers = workers
        self._random = random

    def start(self) -> None:
        for worker in self.workers:
            worker.start()
        for worker in self.workers:
            worker.await_ready(_SECONDS)

    def kill_one(self) -> None:
        """Kill a child or a whole worker, which is started again; it may be down already."""
        worker = self._random.choice(self.workers)
        is_whole = self._random.randrange(10) < _WHOLE
        if not worker.is_running or not worker.is_ready:
            return
        children = worker.children()
        is_whole = is_whole or not children  # threads are killed together
        if is_whole:
            worker.kill()
            worker.start()
        else:
            os.kill(self._random.choice(children), signal.SIGKILL)
        self.kills["whole worker" if is_whole else "child at random"] += 1

    def revive(self) -> None:
        """Start what has ended by itself."""
        for worker in self.workers:
            if not worker.is_running:
                self.kills["worker that ended by itself"] += 1
                worker.start()

    def stop(self) -> None:
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.stop()

    def lines(self) -> Iterator[str]:
        """Return what all workers have logged."""
        for worker in self.workers:
            for log in worker.folder.glob("log-*"):
                yield from log.read_text(errors="replace").splitlines()


@contextmanager
def fleet(
    make: Callable[[Path], Sequence[CeleryWorker]], random: Random, keep_logs: Path | None
) -> Iterator[Fleet]:
    """Give the workers that *make* makes in a folder, all started; none is left behind."""
    folder = Path(tempfile.mkdtemp(prefix="celery-defer-trial-"))
    workers = Fleet(make(folder), random)
    try:
        workers.start()
        yield workers
    finally:
        workers.stop()
        if keep_logs is not None:
            shutil.copytree(folder, keep_logs, dirs_exist_ok=True)
        for worker in workers.workers:
            worker.close()
        shutil.rmtree(folder)
