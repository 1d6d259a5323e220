"""Attempts of one parent that take turns: each stops at the points where another may come between.

The attempts are real: Celery's tracer runs them, each in a thread of its own, on a real Redis. Only
one of them moves at a time, to its next point, where it may be killed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Semaphore, local
from typing import Any, ClassVar

from billiard.exceptions import WorkerLostError
from celery import Celery
from celery.backends.redis import RedisBackend

from celery_defer import defer
from celery_defer.model import HEADER, When
from celery_defer.outbox import Relay
from celery_defer.store import MemoryStore
from tests.support.inside import Worker, ship_of
from tests.support.one_redis import app_on
from tests.support.redis import Server

__all__ = ["Attempt", "Killed", "Plan", "Run", "Way"]

_here = local()


class Killed(BaseException):
    """SIGKILL: nothing of this attempt happens any more."""


def pause(point: str) -> None:
    """Let others move, if an attempt is in progress here."""
    attempt: Attempt | None = getattr(_here, "attempt", None)
    if attempt is not None:
        attempt.pause(point)


class PausingBackend(RedisBackend):
    """Celery's backend, with a point before and after it stores how an attempt ended."""

    #: One for each thread.
    made: ClassVar[list[PausingBackend]] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.made.append(self)

    def get(self, key: Any) -> Any:
        value = super().get(key)
        # Celery looks for a SUCCESS, and then stores: another attempt may come between.
        pause("has looked")
        return value

    def mark_as_done(self, *args: Any, **kwargs: Any) -> Any:
        return _between(super().mark_as_done, *args, **kwargs)

    def mark_as_failure(self, *args: Any, **kwargs: Any) -> Any:
        return _between(super().mark_as_failure, *args, **kwargs)

    def mark_as_retry(self, *args: Any, **kwargs: Any) -> Any:
        return _between(super().mark_as_retry, *args, **kwargs)


def _between(store: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    pause("before its result")
    stored = store(*args, **kwargs)
    attempt: Attempt | None = getattr(_here, "attempt", None)
    if attempt is not None:
        attempt.run.ends += 1
        attempt.run.has_failed |= attempt.run.stored[0] == "FAILURE"
        if attempt.run.stored == ("SUCCESS", attempt.number):
            attempt.won_at = attempt.run.ends
    pause("after its result")
    return stored


class PausingStore(MemoryStore):
    """A memory store, with a point before a record is staged and before it is removed."""

    def stage(self, *args: Any, **kwargs: Any) -> Any:
        pause("before staging")
        return super().stage(*args, **kwargs)

    def settle(self, *args: Any, **kwargs: Any) -> None:
        pause("before settling")
        super().settle(*args, **kwargs)


@dataclass(frozen=True)
class Plan:
    """What one attempt does: the calls that it makes, and how it ends."""

    calls: Mapping[str, When]
    end: str

    def starting(self, outcome: str) -> set[str]:
        return {id for id, when in self.calls.items() if when in (outcome, "always")}


@dataclass(eq=False)
class Attempt:
    """One attempt, in a thread that waits at a point until it may move."""

    run: Run
    number: int
    plan: Plan
    is_redelivered: bool
    retries: int = 0
    point: str = "begun"
    #: The place of its SUCCESS among the ends that were stored; 0 without one.
    won_at: int = 0
    is_killed: bool = False
    is_over: bool = False
    _go: Semaphore = field(default_factory=lambda: Semaphore(0))
    _stopped: Semaphore = field(default_factory=lambda: Semaphore(0))

    def begin(self, pool: ThreadPoolExecutor) -> Future[None]:
        return pool.submit(self._live)

    def move(self, *, kill: bool = False) -> None:
        """Go on to the next point or to the end; with *kill*, die here."""
        self.is_killed = kill
        self._go.release()
        assert self._stopped.acquire(timeout=30), f"{self} hangs"

    def pause(self, point: str) -> None:
        self.point = point
        self._stopped.release()
        self._go.acquire()
        if self.is_killed:
            _here.attempt = None  # what a dead process's handlers still try has no points
            raise Killed

    def _live(self) -> None:
        self._go.acquire()
        _here.attempt = self
        try:
            if not self.is_killed:
                with suppress(Killed):
                    self.run.trace(self)
        finally:
            _here.attempt = None
            self.is_over = True
            self._stopped.release()

    def __repr__(self) -> str:
        return (
            f"{self.number}: {self.plan}, won {self.won_at}, died {self.is_killed and self.point}"
        )

    @property
    def came_again(self) -> bool:
        return self.is_redelivered or bool(self.retries)

    @property
    def has_ended_body(self) -> bool:
        return self.point not in ("begun", "in its body")

    def body(self, task: Any) -> int:
        ship = self.run.way.ship
        for id, when in self.plan.calls.items():
            defer(id, ship.with_options(when=when), self.number)
        pause("in its body")
        if self.plan.end == "raises":
            raise ValueError(self.number)
        if self.plan.end == "retries":
            raise task.retry(countdown=0, max_retries=None)
        return self.number


class Way:
    """One way of committing: an app, and threads that run its attempts."""

    def __init__(self, server: Server, commit: str) -> None:
        self.commit = commit
        module = f"{PausingBackend.__module__}.{PausingBackend.__qualname__}"
        self.app: Celery = app_on(
            server, backend=f"{module}+{server.url}/4", defer_commit=commit, defer_grace=10
        )
        self.worker = Worker(self.app)
        self.ship = ship_of(self.app)
        self.pool = ThreadPoolExecutor(8)
        self.messages: Any = server.client(db=3)
        self.results: Any = server.client(db=4)

        @self.app.task(name="parent", bind=True, shared=False)
        def parent(task: Any) -> int:
            return _here.attempt.body(task)  # type: ignore[no-any-return]

    def close(self) -> None:
        self.pool.shutdown()
        self.app.close()
        for client in (self.messages, self.results, *(each.client for each in PausingBackend.made)):
            client.connection_pool.disconnect()


class Run:
    """One run of the parent under one way of committing: its attempts, and what comes of them."""

    def __init__(self, way: Way, id: str) -> None:
        self.way, self.id = way, id
        self.store = way.app._celery_defer.store = PausingStore()
        self.attempts: list[Attempt] = []
        self.ends = 0
        #: Whether FAILURE has stood at some time.
        self.has_failed = False
        self.is_forgotten = False
        way.messages.flushdb()
        way.results.flushdb()

    @property
    def alive(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if not attempt.is_over]

    @property
    def stored(self) -> tuple[str, Any]:
        """The state and the result that are stored."""
        meta = json.loads(self.way.results.get(f"celery-task-meta-{self.id}") or "{}")
        return meta.get("status", "PENDING"), meta.get("result")

    @property
    def published(self) -> set[str]:
        """The defer ids of all messages of deferred runs."""
        headers = [
            json.loads(each)["headers"] for each in self.way.messages.lrange("celery", 0, -1)
        ]
        return {header[HEADER]["id"] for header in headers if header.get(HEADER)}

    def deliver(self, plan: Plan, *, is_redelivered: bool, retries: int = 0) -> Attempt:
        attempt = Attempt(self, len(self.attempts), plan, is_redelivered, retries)
        self.attempts.append(attempt)
        attempt.begin(self.way.pool)
        return attempt

    def trace(self, attempt: Attempt) -> None:
        self.way.worker._trace(
            (),
            {},
            {
                "id": self.id,
                "task": "parent",
                "retries": attempt.retries,
                "delivery_info": {"redelivered": attempt.is_redelivered, "routing_key": "celery"},
                "hostname": "unit@test",
                "group": None,
                "headers": {},
            },
        )

    def lose(self) -> None:
        """Let the worker's main process store what it stores for a child that it has lost."""
        if self.stored[0] != "SUCCESS":  # celery.worker.request: _success_was_stored
            self.way.app.backend.mark_as_failure(self.id, WorkerLostError("lost"))
            self.has_failed = True

    def forget(self) -> None:
        self.is_forgotten = True
        self.way.app.AsyncResult(self.id).forget()

    def look(self, seconds: float) -> None:
        """Let time pass, and a relay look."""
        self.way.worker.now += seconds
        extension = self.way.app._celery_defer
        Relay(self.way.app, self.store, extension.settings).tick(self.way.worker.now)

    def finish(self) -> None:
        """Let what is alive come to its end, and relays look until nothing is left."""
        while self.alive:
            self.alive[0].move()
        for seconds in (60, 60, 8 * 86_400):
            self.look(seconds)
