"""A worker whose tasks have steps, what it uses of the machine, and a client with events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import psutil
import redis
from celery import Celery

from celery_defer import Defer, send_event
from tests.bench.payload import ORDER
from tests.bench.site import Site
from tests.bench.worker import Worker
from tests.support.proxy import Proxy

__all__ = ["StepWorker"]


class StepWorker(Worker):
    """A worker of tests.bench.steps.app; several may share one queue."""

    module = "tests.bench.steps.app"

    def __init__(
        self,
        site: Site,
        *,
        defer: bool = True,
        proxy: Proxy | None = None,
        queue: str | None = None,
    ) -> None:
        super().__init__(site, defer=defer, proxy=proxy)
        self.queue = queue or self.queue
        self._config["queue"] = self.queue
        self._is_killed = False
        self.redis = redis.Redis.from_url(site.database)
        self._client = Celery(
            "bench-client", broker=site.broker, backend=site.backend, set_as_current=False
        )
        self._client.conf.update(task_default_queue=self.queue)
        Defer(self._client)

    def __exit__(self, *error: object) -> None:
        if self._is_killed:
            self._stop()
        else:
            super().__exit__(*error)

    @property
    def store(self) -> Any:
        return self._client._celery_defer.store

    def start(self, task: str, id: str | None = None, **kwargs: Any) -> str:
        """Publish a run; answer its id."""
        id = id or str(uuid4())
        self._client.send_task(task, kwargs={**ORDER, **kwargs}, task_id=id)
        return id

    def start_many(self, task: str, count: int, /, **kwargs: Any) -> list[str]:
        """Publish runs on one connection."""
        ids = [str(uuid4()) for _ in range(count)]
        with self._client.producer_pool.acquire(block=True) as producer, producer.batch():
            for id in ids:
                self._client.send_task(task, kwargs=kwargs, task_id=id, producer=producer)
        return ids

    def again(self, task: str, id: str, *args: Any) -> dict[str, Any]:
        """Publish a message of a run that may have come before; answer what it tells."""
        self._client.send_task(task, args, task_id=id)
        return self.take()

    def tell(self, order_id: str) -> None:
        """Send the event that one order's run waits for."""
        self._client.set_current()
        send_event("order/bought", {"order_id": order_id, "total": 129.95})

    def hold(self) -> None:
        """Let the worker's only child wait until it is let go."""
        self.send("bench.gate")

    def let_go(self) -> None:
        self.redis.rpush(self.queue + "-gate", "open")

    def kill(self) -> None:
        """End the worker as a loss of power would, its child with it."""
        self._is_killed = True
        self._process.kill()

    def processes(self) -> Sequence[psutil.Process]:
        """Return the main process, and its children after it."""
        main = psutil.Process(self._process.pid)
        return [main, *main.children(recursive=True)]

    def resident(self) -> int:
        """Return the bytes of memory that the worker's processes hold."""
        return sum(process.memory_info().rss for process in self.processes())

    def cpu(self) -> float:
        """Return the seconds of CPU that the main process has used."""
        times = self.processes()[0].cpu_times()
        return float(times.user + times.system)
