"""A client of a worker: it sends tasks by name, and reads what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import uuid4

import redis
from celery import Celery
from celery.canvas import Signature
from celery.states import READY_STATES
from pytest_celery import CeleryTestWorker

from celery_defer import run_id
from tests.support.connections import close
from tests.support.processes import wait_until

__all__ = ["Caller"]


@dataclass
class Caller:
    """Sends to the queue of *worker* with *app*, whose result backend is Redis."""

    app: Celery
    worker: CeleryTestWorker

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        """Close every connection; one that is left to the garbage collector is a warning."""
        close(self.app)
        self.redis.close()

    @cached_property
    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.app.conf.result_backend, decode_responses=True)

    # -- sending ------------------------------------------------------------------------

    def signature(self, name: str, *args: Any, **kwargs: Any) -> Signature:
        return self.app.signature(name, args, kwargs, queue=self.worker.worker_queue)

    def send(self, name: str, *args: Any, **kwargs: Any) -> str:
        return self.send_with({}, name, *args, **kwargs)

    def send_with(self, options: dict[str, Any], name: str, *args: Any, **kwargs: Any) -> str:
        options = {"task_id": str(uuid4()), "queue": self.worker.worker_queue, **options}
        return str(self.app.send_task(name, args, kwargs, **options).id)

    def go(self, run: str) -> None:
        """Let a run of parents.held end."""
        self.redis.rpush(f"go:{run}", 1)

    def revoke(self, run: str, terminate: bool = False) -> None:
        """Revoke *run*, and wait until the worker knows."""
        answers = self.app.control.broadcast(
            "revoke",
            {"task_id": run, "terminate": terminate},
            destination=[self.worker.hostname()],
            reply=True,
            timeout=10,
        )
        assert answers

    # -- reading ------------------------------------------------------------------------

    def end(self, run: str) -> dict[str, Any]:
        """Wait for the end of *run*, and answer what is stored of it."""
        wait_until(
            lambda: self.meta(run)["status"] in READY_STATES,
            f"{run} ended: {self.meta(run)}",
        )
        return self.meta(run)

    def result(self, run: str) -> Any:
        """Wait for the success of *run*, and answer its result."""
        meta = self.end(run)
        assert meta["status"] == "SUCCESS", meta
        return meta["result"]

    def child(self, parent: str, defer_id: str) -> Any:
        """Wait for the success of what *parent* deferred, and answer its result."""
        return self.result(run_id(parent, defer_id))

    def children(self, parent: str) -> list[str]:
        """Return the ids that the stored result of *parent* lists."""
        self.end(parent)
        return [child.id for child in self.app.AsyncResult(parent).children or []]

    def meta(self, run: str) -> dict[str, Any]:
        self.app.backend._cache.pop(run, None)  # `get_task_meta` keeps what is SUCCESS
        return dict(self.app.backend.get_task_meta(run))

    def marks(self, name: str, run: str) -> int:
        """Return how often tests.worker.tasks.mark was called so."""
        return int(self.redis.get(f"{name}:{run}") or 0)

    def outbox(self) -> int:
        """Return how many records the outbox has, where that is in the result backend's Redis."""
        return int(self.redis.zcard("celery-defer:due"))

    def outbox_is_empty(self) -> bool:
        return self.outbox() == 0

    def settle(self) -> None:
        """Wait until the worker, which has one process, has done all that it was given.

        The first fence ends after every task before it has returned and published; the
        second after what these published.
        """
        for _ in range(2):
            self.result(self.send("parents.fence"))

    def never_ran(self, run: str) -> bool:
        """Tell whether *run* was not even begun; only true after ``settle``."""
        self.settle()
        return self.marks("began", run) == 0 and self.marks("before-publish", run) == 0
