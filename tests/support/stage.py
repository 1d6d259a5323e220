"""A stage for runs with steps: the clock stands, and no relay looks, until a test says so."""

from __future__ import annotations

from time import time
from typing import Any

from celery import Celery

from celery_defer.outbox.relay import Relay
from tests.support.inside import Worker

__all__ = ["Stage"]


class Stage:
    """Begins runs, lets time pass, and wakes what is due then."""

    def __init__(self, app: Celery, worker: Worker) -> None:
        self.app = app
        self.worker = worker
        self.extension: Any = app._celery_defer
        self.now = time()
        self.extension.clock = lambda: self.now

    @property
    def relay(self) -> Relay:
        return Relay(self.app, self.extension.store, self.extension.settings)

    def begin(self, task: Any, *args: Any, **options: Any) -> Any:
        """Run the first turn of *task*, and answer its result."""
        return self.worker.run(task, *args, **options)

    def later(self, seconds: float) -> list[Any]:
        """Let time pass and a relay look; answer the messages that it has published."""
        self.now += seconds
        self.relay.tick(self.now)
        return self.worker.published()

    def wake(self, seconds: float = 0.0) -> None:
        """Let time pass, and run what a relay publishes then, and what follows from it."""
        for message in self.later(seconds):
            self.worker.trace(message)
        self.worker.drain()

    def finish(self, task: Any, *args: Any, **options: Any) -> Any:
        """Run *task* to its end, with as much time as it takes; answer its result."""
        result = self.begin(task, *args, **options)
        self.go_on()
        return result

    def go_on(self) -> None:
        """Let time pass until nothing waits any more."""
        for _ in range(1_000):
            due = self.extension.store.next_due()
            if due is None:
                return
            self.wake(max(0.0, due - self.now))
        raise AssertionError("the runs do not come to an end")

    def parked(self) -> int:
        """Answer how many runs are parked."""
        return int(self.extension.store.waiting())
