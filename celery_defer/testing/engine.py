"""The clock and the queue of a simulation: which message runs when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from celery_defer.current import extension_of
from celery_defer.outbox import Relay, continue_fan_out
from celery_defer.testing.broker import Message, Queue
from celery_defer.testing.run import SimulationError
from celery_defer.testing.store import SimulatedStore
from celery_defer.testing.swap import Ports
from celery_defer.testing.tracks import Runs
from celery_defer.testing.worker import SimulatedWorker

# In seconds. What happens at one moment has an order: each event is this much later than the one
# before, as it would be in a real system.
_TICK = 1e-6
# What is due by less than this is due.
_TOLERANCE = 5e-4


def _all(*_: object) -> bool:
    """Let scorers score all runs: ids differ from test to test, and so would a sample."""
    return True


class Engine:
    """Moves the clock, and gives the messages that are due to the worker, one at a time."""

    def __init__(self, app: Any, time: float, limit: Callable[[], int]) -> None:
        self.time = time
        self.store = SimulatedStore(on_event=self._tick, clock=self._clock)
        self.runs = Runs(app, self.store)
        self.worker = SimulatedWorker(self.runs, self._clock)
        self.queue = Queue(
            app.conf.accept_content, self._clock, self.worker.record, self.worker.control
        )
        self._app = app
        self._limit = limit
        # Since the clock moved last.
        self._deliveries = self._events = 0

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time, timezone.utc)

    @property
    def ports(self) -> Ports:
        """What the app uses during the simulation."""
        return Ports(
            queue=self.queue,
            store=self.store,
            clock=self._clock,
            pause=lambda seconds: self._move(self.time + seconds),
            now=lambda: self.now.astimezone(self._app.timezone),
            drain=lambda: self.advance(0),
            call_step=self.worker.call_step,
            on_postrun=self.worker.on_postrun,
            on_dropped=self.worker.on_dropped,
            watch_block=self.worker.watch_block,
            samples=_all,
        )

    def run(self, id: str) -> None:
        """Deliver the message of one run, if it is due."""
        if message := self.queue.take(self._soon, id):
            self._deliver(message)

    def advance(self, seconds: float) -> list[str]:
        """Let time pass, and run what becomes due, each at its time; return the run ids."""
        until = self.time + seconds
        ids = self._drain()
        while (due := self._next_due()) is not None and due <= until + _TOLERANCE:
            self._move(min(due, until))
            settings = extension_of(self._app).settings
            Relay(self._app, self.store, settings).tick(self._soon)
            ids += self._drain()
        self._move(until)
        return ids

    def continue_fan_out(self) -> None:
        """Do what relays do where an event wakes more runs than its sender does."""
        while not continue_fan_out(extension_of(self._app), self.store.sent[-1]):
            pass

    def end_cancelled(self) -> None:
        """End the runs that an event has cancelled, as a relay does."""
        Relay(self._app, self.store, extension_of(self._app).settings).tick(self._soon)

    def _clock(self) -> float:
        return self.time + self._events * _TICK

    def _tick(self) -> None:
        self._events += 1

    @property
    def _soon(self) -> float:
        return self.time + _TOLERANCE

    def _drain(self) -> list[str]:
        ids = []
        while message := self.queue.take(self._soon):
            self._deliver(message)
            ids.append(message.id)
        return ids

    def _deliver(self, message: Message) -> None:
        self._deliveries += 1
        if self._deliveries > self._limit():
            raise SimulationError(
                f"{self._limit()} runs, and no time has passed: does {message.task} send itself?"
            )
        self.worker.deliver(message)

    def _next_due(self) -> float | None:
        times = [message.due for message in self.queue.waiting]
        times += self.store.due_times(self.runs.has_ended)
        return min(times, default=None)

    def _move(self, to: float) -> None:
        if to > self.time:
            self.time, self._deliveries, self._events = to, 0, 0
