"""How many bytes of Redis each thing takes that the package keeps there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from secrets import token_hex
from time import time
from typing import Any
from uuid import uuid4

from celery import Celery
from redis import Redis

from celery_defer import Defer, defer, deferred, deferring, run_id, score, send_event
from celery_defer.ids import RunId
from tests.support.processes import Process, wait_until
from tests.support.redis import Server, running
from tests.support.stored import field_of

__all__ = ["measured", "scored", "staged"]

_ORDER = {
    "customer": "Ada Lovelace", "email": "ada@example.com", "currency": "EUR", "total": 129.95,
}  # fmt: skip
_PATIENCE = 120
_WEEK = 7 * 86_400
_QUARTER = 90 * 86_400.0
# What a key takes beside, in the tables of keys and of their expiry.
_ENTRY = 60


def measured(times: int, *, has_record: bool) -> dict[str, float]:
    """Return the bytes of each thing, as the mean over so many of them."""
    with running() as server, _worker(server, has_record):
        site = _Site(server)
        site.run("plain", 100)  # connections, scripts, tables
        plain = site.grown(lambda: site.run("plain", times)) / times
        parent = site.grown(lambda: site.run("parent", times, "receipt")) / times
        ten = site.grown(lambda: site.run("parent of ten", times, "receipt-9")) / times
        sleeping = site.grown(lambda: site.park("sleeps", times)) / times
        holding = site.grown(lambda: site.hold("held", times)) / times
        stepping = site.grown(lambda: site.park("steps", times)) / times
        early = site.grown(lambda: site.tell(times)) / times
        waiting = site.grown(lambda: site.park("waits", times)) / times
        told = site.grown(lambda: site.tell(times)) / times
        named = site.grown(lambda: site.tell(times, named=True)) / times
        message = site.grown(lambda: site.send("nobody", times)) / times
    return {
        "a result of Celery": plain,
        "a parent and its deferred run, beside their results": parent - 2 * plain,
        "each further deferred run of that parent": (ten - parent) / 9 - plain,
        "a run that sleeps": sleeping,
        "a run that waits for an event": waiting,
        "a run that a limit holds": holding,
        "a finished step that returned 100 bytes": (stepping - sleeping) / 10,
        "an event of 100 bytes": early,
        "an event, where runs compare one set of fields": told,
        "the id of an event": named - told,
        "a message in a queue": message,
    }


def staged(times: int) -> dict[str, float]:
    """Return the bytes of calls that wait in the outbox, because the broker is away."""
    with running() as server:
        site = _Site(server, broker="redis://127.0.0.1:1/0")
        one, ten = (site.grown(lambda n=n: site.stage(times, n)) / times for n in (1, 10))
    return {"a record in the outbox": one - (ten - one) / 9, "a call in it": (ten - one) / 9}


def scored(times: int) -> dict[str, float]:
    """Return the bytes of variants that runs have taken, and of scores."""
    with running() as server:
        site = _Site(server)
        runs = [RunId(str(uuid4())) for _ in range(times)]
        taken = site.grown(lambda: site.assign(runs)) / times
        first = site.grown(lambda: site.score("bought", runs)) / times
        more = site.grown(lambda: site.score("tone", runs)) / times
    return {
        "a variant that a run has taken": taken,
        "the first score of a run": first,
        "each further score of it": more,
    }


class _Site:
    """A Redis with a worker, whose memory is read."""

    def __init__(self, server: Server, broker: str | None = None) -> None:
        self._redis: Redis = server.client()
        # Without a result backend it does not subscribe to each result, which would take memory.
        self._client = Celery("client", broker=broker or server.url, set_as_current=False)
        self._client.conf.update(
            defer_store_url=server.url, defer_record=False, task_publish_retry=False
        )
        self._store: Any = Defer(self._client).store
        self._receipt = deferred(self._client.task(name="receipt")(_receipt))

    def grown(self, act: Callable[[], object]) -> float:
        """Return by how many bytes Redis has grown."""
        before = self._used()
        act()
        return self._used() - before

    def run(self, task: str, times: int, *defer_ids: str) -> None:
        """Run a task so many times, until it and what it defers have ended."""
        ids = self.send(task, times)
        runs = [*ids, *(run_id(id, name) for id in ids for name in defer_ids)]
        wait_until(lambda: self._ended(runs), f"{task} runs", _PATIENCE)

    def park(self, task: str, times: int) -> None:
        parked = self._redis.zcard("celery-defer:due")
        self.send(task, times)
        wait_until(lambda: self._redis.zcard("celery-defer:due") == parked + times, task, _PATIENCE)

    def hold(self, task: str, times: int) -> None:
        self._store.pause(task, is_paused=True)
        self.park(task, times)

    def send(self, task: str, times: int) -> list[str]:
        queue = "nobody" if task == "nobody" else "celery"
        rows = (_order() for _ in range(times))
        return [self._client.send_task(task, kwargs=row, queue=queue).id for row in rows]

    def tell(self, times: int, named: bool = False) -> None:
        """Send so many events whose data has 100 bytes."""
        for _ in range(times):
            data = {"order_id": uuid4().hex[:15], "text": "x" * 64}
            send_event("order/paid", data, id=str(uuid4()) if named else None, app=self._client)

    def stage(self, times: int, calls: int) -> None:
        """Stage so many calls of so many runs, as a block has that finds no broker."""
        before = set(self._redis.keys("celery-defer:*:outbox"))
        with deferring(app=self._client):
            for number in range(calls):
                defer(f"receipt-{number}", self._receipt, **_order())
        [key] = set(self._redis.keys("celery-defer:*:outbox")) - before
        body = field_of(self._redis, key.decode(), "body")
        for _ in range(times):
            now = time()
            self._store.stage(RunId(str(uuid4())), token_hex(8), body, now + 60, _WEEK)

    def assign(self, runs: list[RunId]) -> None:
        for run in runs:
            self._store.assign(run, "checkout-flow", "control", _QUARTER, 0.0)

    def score(self, name: str, runs: list[RunId]) -> None:
        for run in runs:
            score(name, 0.75, run_id=run, app=self._client)

    def _ended(self, runs: list[str]) -> bool:
        return self._redis.exists(*[f"celery-task-meta-{run}" for run in runs]) == len(runs)

    def _used(self) -> int:
        """Return the bytes of all keys; `used_memory` also has buffers that come and go."""
        keys = list(self._redis.scan_iter(count=1_000))
        with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.memory_usage(key, samples=0)
            return sum(size + _ENTRY for size in pipeline.execute() if size)


def _order() -> dict[str, Any]:
    """Return arguments of 120 bytes as JSON."""
    return {**_ORDER, "order_id": uuid4().hex[:15]}


def _receipt(order_id: str, customer: str, email: str, currency: str, total: float) -> None:
    pass


@contextmanager
def _worker(server: Server, has_record: bool) -> Iterator[Process]:
    command = [sys.executable, "-m", "celery", "-A", "tests.bench.memory.app", "worker", "-c", "2"]
    env = {"BENCH_REDIS": server.url, "BENCH_RECORD": "1" if has_record else ""}
    with Process([*command, "-l", "WARNING"], ready="celery@", env=env) as worker:
        yield worker
        worker.kill()
