"""A real ``celery worker`` in a process of its own, and what it tells the bench."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import redis
from celery import Celery
from typing_extensions import Self

from tests.bench.payload import ORDER
from tests.bench.site import Site
from tests.support.processes import CeleryWorker
from tests.support.proxy import Proxy

__all__ = ["BrokenWorkerError", "Worker"]

_PATIENCE = 60
_END_SECONDS = 20


class BrokenWorkerError(RuntimeError):
    """A worker died, fell silent, or logged an error."""


class Worker:
    """A prefork worker; use it in a ``with`` statement."""

    #: Where the worker finds its app.
    module = "tests.bench.app"

    def __init__(
        self,
        site: Site,
        *,
        defer: bool = True,
        timed: bool = False,
        children: int = 1,
        proxy: Proxy | None = None,
        record: bool = True,
    ) -> None:
        self.site = site
        self.queue = site.queue("work")
        self.sink = site.queue("sink")
        self._children = children
        self._records = redis.Redis.from_url(site.database)
        self._client = Celery("bench-client", broker=site.broker)
        self._client.conf.update(task_default_queue=self.queue)
        self._config = {
            "broker": site.broker,
            "broker_write": proxy.url if proxy else site.broker,
            "backend": proxy.url if proxy else site.backend,
            "confirms": site.confirms,
            "records": site.database,
            "queue": self.queue,
            "sink": self.sink,
            "defer": defer,
            "timed": timed,
            "record": record,
        }

    def __enter__(self) -> Self:
        self._process = CeleryWorker(
            self.module,
            f"{self.queue}-{id(self)}@%h",
            *("--loglevel", "WARNING", "--concurrency", str(self._children)),
            *("--queues", self.queue),
            # One order of hashes for all workers: it moves their speed by a percent.
            env={"DEFER_BENCH": json.dumps(self._config), "PYTHONHASHSEED": "0"},
        )
        try:
            self._process.start()
            self.send("bench.hello")
            self.take()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        died = not self._process.is_running
        self._process.stop(_END_SECONDS)
        logs = self._process.logs()
        self._stop()
        if error == (None, None, None):
            self._check(logs)
            if died:
                raise BrokenWorkerError(f"{self.queue} has died; its log:\n{logs}")

    def send(self, task: str, args: Sequence[Any] = (), links: Sequence[Any] = ()) -> None:
        """Publish one message to the worker."""
        self._client.send_task(task, args, link=list(links))

    def take(self) -> dict[str, Any]:
        """Wait for the next thing that the worker tells."""
        for _ in range(_PATIENCE):
            if told := self._records.blpop([self.queue + "-records"], timeout=1):
                return json.loads(told[1])
            self._check(self._process.logs())
            if not self._process.is_running:
                break
        raise BrokenWorkerError(f"{self.queue} is silent; its log:\n{self._process.logs()}")

    def drain(
        self, task: str, args: Sequence[Any], times: int, links: Sequence[Any] = ()
    ) -> dict[str, float]:
        """Return the seconds, of the clock and of the child's CPU, for *times* messages.

        All of them are published before the first is run.
        """
        self.send("bench.gate")
        with self._client.producer_pool.acquire(block=True) as producer, producer.batch():
            for _ in range(times):
                self._client.send_task(task, args, link=list(links), producer=producer)
        self.send("bench.mark")
        self._records.rpush(self.queue + "-gate", "open")
        return self.take()

    def link(self, name: str) -> Any:
        """Return a signature that carries the order, for a message's ``link=``."""
        return self._client.signature(name, kwargs=ORDER, immutable=True)

    def purge(self) -> None:
        """Drop the follow-ups that nobody consumes."""
        self.site.purge(self.sink)

    def _stop(self) -> None:
        self._process.close()
        self._client.close()
        self._records.close()
        for queue in (self.queue, self.sink):
            self.site.delete(queue)

    def _check(self, logs: str) -> None:
        if ": ERROR/" in logs:
            raise BrokenWorkerError(f"{self.queue} has logged errors:\n{logs}")
