"""Many parked runs at once: written as a worker has written one, by the store's own scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from time import time
from typing import Any
from uuid import uuid4

import redis

from celery_defer import matching, parked
from celery_defer.durations import seconds
from celery_defer.ids import RunId
from celery_defer.replay import Note
from celery_defer.store import Parking, RedisStore, Subscription
from tests.bench.site import Site
from tests.bench.steps.worker import StepWorker
from tests.bench.worker import BrokenWorkerError

__all__ = ["Crowd", "wait_until"]

_PIPED = 1_000
_WEEK = seconds("week", "7d")
_DAY = seconds("day", "1d")


def wait_until(is_so: Callable[[], bool], what: str, patience: float = 60) -> None:
    """Look again and again, until it is so."""
    deadline = time() + patience
    while not is_so():
        if time() > deadline:
            raise BrokenWorkerError(f"{what}: not within {patience:.0f} s")


@dataclass(frozen=True, slots=True)
class Crowd:
    """The Redis of a site, where runs are parked beside one that a worker has parked."""

    site: Site

    def waits(self, worker: StepWorker, times: int) -> None:
        """Park so many runs, each until the event of an order of its own."""
        order = uuid4().hex
        run = worker.start("bench.waits", order_id=order)
        self._await_parked(run)
        model = self._model(run)
        worker.tell(order)
        worker.take()

        def parking(id: str) -> Parking:
            match = matching.match("order/bought", {"order_id": id})
            wait = Subscription("order/bought", match.shape, match.digest, time())
            body = model.replace(run.encode(), id.encode()).replace(order.encode(), id.encode())
            return _parking(body, "bought", time() + _WEEK, wait)

        self._park(parking, times)

    def sleeps(self, worker: StepWorker, times: int, due: float) -> None:
        """Park so many runs until one moment."""
        far = time() + _DAY
        [run] = worker.start_many("bench.sleeps", 1, due=far, times=times)
        self._await_parked(run)
        model = self._model(run)
        for name in ("run", "outbox"):
            worker.redis.delete(f"celery-defer:{{{run}}}:{name}")
        worker.redis.zrem("celery-defer:due", run)
        known = parked.unpack(model)
        moved = parked.pack(
            type(known)(**{**_fields(known), "kwargs": {**known.kwargs, "due": due}})
        )
        self._park(
            lambda id: _parking(moved.replace(run.encode(), id.encode()), "due", due), times
        )

    def used(self) -> int:
        """Answer the bytes that Redis uses."""
        with redis.Redis.from_url(self.site.database) as client:
            return int(client.info("memory")["used_memory"])

    def is_parked(self, run: str) -> bool:
        with redis.Redis.from_url(self.site.database) as client:
            return client.zscore("celery-defer:due", run) is not None

    def parked(self) -> int:
        with redis.Redis.from_url(self.site.database) as client:
            return int(client.zcard("celery-defer:due"))

    def _await_parked(self, run: str) -> None:
        wait_until(lambda: self.is_parked(run), f"run {run} parks")

    def _model(self, run: str) -> bytes:
        with redis.Redis.from_url(self.site.database) as client:
            [(_, _, body, _)] = [
                (run, None, client.hget(f"celery-defer:{{{run}}}:outbox", "body"), None)
            ]
            return bytes(body)

    def _park(self, parking: Callable[[str], Parking], times: int) -> None:
        ids = (str(uuid4()) for _ in range(times))
        with redis.Redis.from_url(self.site.database) as client:
            while batch := list(islice(ids, _PIPED)):
                with _piped(client) as store:
                    for id in batch:
                        now = time()
                        store.recall(RunId(id), now, _DAY)
                        made = parking(id)
                        store.park(RunId(id), made, now, made.due - now + _DAY)


def _fields(known: Any) -> dict[str, Any]:
    return {name: getattr(known, name) for name in type(known).__slots__}


def _parking(body: bytes, step: str, due: float, wait: Subscription | None = None) -> Parking:
    return Parking(0, step, Note().pack(), uuid4().hex, body, due, wait)


@contextmanager
def _piped(client: Any) -> Iterator[RedisStore]:
    """Give a store whose two scripts are sent as one, and answer what they would for a new run."""
    store = RedisStore(client)
    with client.pipeline(transaction=False) as pipeline:
        answers = {"_recall": [], "_park": [b"parked", b"0"]}
        for name, answer in answers.items():
            setattr(store, name, _later(getattr(store, name), pipeline, answer))
        yield store
        pipeline.execute()


def _later(script: Any, pipeline: Any, answer: list[bytes]) -> Callable[..., list[bytes]]:
    def call(keys: list[str], args: list[Any]) -> list[bytes]:
        script(keys, args, client=pipeline)
        return answer

    return call
