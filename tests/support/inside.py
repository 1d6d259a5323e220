"""A worker and a store that are in the process of the test, and can be read."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from time import time
from typing import Any

from celery import Celery
from celery.app import trace

from celery_defer import deferred
from celery_defer.model import HEADER
from celery_defer.outbox import DeferredCalls, records
from celery_defer.outbox.relay import Relay
from celery_defer.store import MemoryStore

__all__ = ["WatchedStore", "Worker", "ids_of", "parent_of", "ship_of"]


class Worker:
    """Does with a message what a pool's process does, but when the test says so.

    For tests that hold a message in hand or watch a store; the others have ``sim``. The clock
    stands, and no relay looks, until the test says ``later``.
    """

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.apart = f"{app.main}-apart"
        self.now = time()
        app._celery_defer.clock = lambda: self.now

    def run(self, task: Any, *args: Any, **options: Any) -> Any:
        """Send *task*, run it and nothing else, and return its result."""
        result = task.apply_async(args, **{"queue": self.apart, **options})
        (message,) = self._received(self.apart)
        self.trace(message)
        return self.app.AsyncResult(result.id)

    def perform(self, task: Any, *args: Any) -> Any:
        """Run *task* as if a message of it had come, and return its result."""
        id = str(uuid.uuid4())
        self._trace(args, {}, {"id": id, "task": task.name, "delivery_info": {}})
        return self.app.AsyncResult(id)

    def published(self) -> list[Any]:
        """Take the waiting messages off the queues, unrun."""
        return [*self._received(), *self._received(self.apart)]

    def drain(self) -> list[Any]:
        """Run what waits, and what that publishes in turn; return the results in order."""
        results = []
        while messages := self.published():
            for message in messages:
                self.trace(message)
                results.append(self.app.AsyncResult(message.headers["id"]))
        return results

    def later(self, seconds: float) -> list[Any]:
        """Let time pass and a relay look; take the messages that it has published, unrun."""
        extension = self.app._celery_defer
        # Before the app's clock moves: a Redis has one of its own, to which it adds the difference.
        Relay(self.app, extension.store, extension.settings).tick(self.now + seconds)
        self.now += seconds
        return self.published()

    def wake(self, seconds: float) -> None:
        """Let time pass, and run what a relay publishes then, and what follows from it."""
        for message in self.later(seconds):
            self.trace(message)
        self.drain()

    def trace(self, message: Any) -> Any:
        """Run *message*, and return what Celery's tracer returns to the pool."""
        args, kwargs, embed = message.payload
        properties = message.properties
        delivery = {**message.delivery_info, "priority": properties.get("priority")}
        replies = {name: properties.get(name) for name in ("reply_to", "correlation_id")}
        request = {**message.headers, **replies, "delivery_info": delivery, **embed}
        return self._trace(args, kwargs, {"hostname": "unit@test", **request})

    def _trace(self, args: Any, kwargs: Any, request: dict[str, Any]) -> Any:
        task = self.app.tasks[request["task"]]
        request |= {"args": args, "kwargs": kwargs, "is_eager": False}
        tracer = trace.build_tracer(task.name, task, app=self.app)
        return tracer(request["id"], args, kwargs, request)

    def _received(self, name: str | None = None) -> Iterator[Any]:
        with self.app.connection_for_read() as connection:
            queue = connection.SimpleQueue(name or self.app.conf.task_default_queue)
            while True:
                try:
                    message = queue.get_nowait()
                except queue.Empty:
                    return
                message.ack()
                yield message


class WatchedStore:
    """A memory store that keeps what it was asked, and is away for the methods in ``away``."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.away: set[str] = set()
        self._store = MemoryStore()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def ask(*args: Any, **kwargs: Any) -> Any:
            self.asked.append(name)
            if name in self.away:
                raise ConnectionError("the store is away")
            return method(*args, **kwargs)

        return ask

    def records(self) -> list[DeferredCalls]:
        """Return what is in the outbox, and leave it there."""
        return [records.unpack(id, kept.body) for id, kept in self._store._outbox.items()]


def ship_of(app: Celery) -> Any:
    """Return a deferred task that returns its number."""

    @deferred
    @app.task(name="ship", shared=False)
    def ship(n: int) -> int:
        return n

    return ship


def parent_of(app: Celery, body: Callable[[], Any], **options: Any) -> Any:
    """Return a task whose body is a function of no arguments."""

    @app.task(name=f"parent-{uuid.uuid4()}", shared=False, **options)
    def parent() -> Any:
        return body()

    return parent


def ids_of(messages: Iterable[Any]) -> list[str]:
    """Return the defer ids of messages."""
    return [message.headers[HEADER]["id"] for message in messages]
