"""A client of a worker whose runs wait: what it sends, and what it sees of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from collections.abc import Iterator
from uuid import uuid4

from celery import Celery
from celery.events.receiver import EventReceiver
from celery.events.state import State
from kombu import Connection
from pytest_celery import CeleryTestWorker

from celery_defer.store import RedisStore
from tests.worker.caller import Caller
from tests.worker.local import LocalWorker, wait_until

__all__ = ["Client", "client_of", "watched"]

PREFIX = "celery-defer:"


class Client(Caller):
    """Sends scripts to a worker of tests.worker.stepping."""

    def play(self, *script: Sequence[Any], kind: str = "plain", **options: Any) -> str:
        return self.send_with(options, f"steps.{kind}", script=script)

    def tell(self, event: str, data: Any = None, id: str | None = None) -> int:
        """Send an event from a task; answer how many runs it woke."""
        return int(self.result(self.send("steps.tell", event, data, id)))

    def waits(self, run: str) -> dict[str, Any]:
        """Wait until *run* is parked and says so; answer what it says."""
        wait_until(
            lambda: self.meta(run)["status"] == "WAITING" and self.is_parked(run),
            f"{run} waits: {self.meta(run)}",
        )
        return dict(self.meta(run)["result"])

    def is_parked(self, run: str) -> bool:
        return bool(self.store.hexists(f"{PREFIX}{{{run}}}:outbox", "step"))

    @cached_property
    def store(self) -> Any:
        """The Redis of the package's store."""
        return self.redis

    def settle(self) -> None:
        for _ in range(2):
            self.result(self.send("steps.fence"))
        wait_until(self.outbox_is_empty, "the outbox is empty")

    def keys_for_ever(self) -> list[str]:
        """Answer the store's keys that would never expire, but for the index of due times."""
        found = [key for key in self.store.scan_iter(f"{PREFIX}*") if key != f"{PREFIX}due"]
        return [key for key in found if self.store.ttl(key) == -1]

    def queued(self) -> int:
        """Answer how many messages the worker's queue has, ready or not acknowledged."""
        queue = self.worker.worker_queue
        if str(self.app.conf.broker_url).startswith("redis"):
            broker = Connection(self.app.conf.broker_url)
            with broker as connection:
                client = connection.default_channel.client
                held = client.hvals("unacked")
                return int(client.llen(queue)) + sum(queue.encode() in each for each in held)
        return _rabbitmq_has(self.app.conf.broker_url, queue)
