"""Runs of tasks to their end, for the tests of failures; others use a simulation."""

from __future__ import annotations

from typing import Any

from celery import Celery

from tests.support.inside import Worker

__all__ = ["Stage"]


class Stage:
    """Begins runs, and lets them come to their end."""

    def __init__(self, app: Celery, worker: Worker) -> None:
        self.app = app
        self.worker = worker

    def begin(self, task: Any) -> Any:
        """Run the first turn of *task*, and return its result."""
        return self.worker.run(task)

    def finish(self, task: Any) -> Any:
        """Run *task* to its end, with as much time as it takes; return its result."""
        result = self.begin(task)
        self.go_on()
        return result

    def go_on(self) -> None:
        """Let time pass until nothing waits any more."""
        store: Any = self.app._celery_defer.store
        while (due := store.next_due()) is not None:
            self.worker.wake(max(0.0, due - self.worker.now))
