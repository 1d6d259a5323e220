"""Many parked runs at once: written as a worker has written one, by the store's own scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from secrets import token_hex
from time import time
from typing import Any
from uuid import uuid4

import redis

from celery_defer.durations import seconds
from celery_defer.ids import RunId
from celery_defer.outbox import ParkedRun, pack, unpack
from celery_defer.steps.replay import Note
from celery_defer.store import Parking, RedisStore, Subscription, match
from tests.bench.site import Site
from tests.bench.steps.worker import StepWorker
from tests.support import stored
from tests.support.processes import wait_until

__all__ = ["Crowd"]

_PATIENCE = 60
_PIPED = 1_000
_BODIES = 1_000
_WEEK = seconds("week", "7d")
_DAY = seconds("day", "1d")


@dataclass(frozen=True, slots=True)
class Crowd:
    """The Redis of a site, where runs are parked beside one that a worker has parked."""

    site: Site

    def waits(self, worker: StepWorker, times: int) -> None:
        """Park so many runs, each until the event of an order of its own."""
        order = uuid4().hex[:15]
        run = worker.start("bench.waits", order_id=order)
        self._await_parked(run)
        model = self._model(run)
        worker.tell(order)
        worker.take()
        # Nobody wakes them, so several may have the body of one.
        bodies = [_body(model, order_id=uuid4().hex[:15]) for _ in range(min(times, _BODIES))]

        def parking(id: str) -> Parking:
            wanted = match("order/bought", {"order_id": id})
            wait = Subscription("order/bought", wanted.shape, wanted.digest, time())
            return _parking(bodies[int(id[:6], 16) % len(bodies)], "bought", time() + _WEEK, wait)

        self._park(parking, times)

    def sleeps(self, worker: StepWorker, times: int, due: float) -> None:
        """Park so many runs until one moment."""
        [run] = worker.start_many("bench.sleeps", 1, due=time() + _DAY, times=times)
        self._await_parked(run)
        model = self._model(run)
        worker.store.cancel(RunId(run), _DAY, time())
        self._park(lambda run: _parking(_body(model, run, due=due), "due", due), times)

    def used(self) -> int:
        """Return the bytes that Redis uses."""
        with redis.Redis.from_url(self.site.database) as client:
            return int(client.info("memory")["used_memory"])

    def is_parked(self, run: str) -> bool:
        with redis.Redis.from_url(self.site.database) as client:
            return client.zscore("celery-defer:due", run) is not None

    def parked(self) -> int:
        with redis.Redis.from_url(self.site.database) as client:
            return int(client.zcard("celery-defer:due"))

    def _await_parked(self, run: str) -> None:
        wait_until(lambda: self.is_parked(run), f"run {run} parks", _PATIENCE)

    def _model(self, run: str) -> ParkedRun:
        with redis.Redis.from_url(self.site.database) as client:
            body = stored.field_of(client, f"celery-defer:{{{run}}}:outbox", "body")
            record = unpack(RunId(run), body)
            assert isinstance(record, ParkedRun)
            return record

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


def _body(model: ParkedRun, id: str | None = None, **kwargs: Any) -> bytes:
    """Pack the record of another run."""
    own = RunId(id or str(uuid4()))
    options = {**model.options, "root_id": own}
    return pack(replace(model, id=own, options=options, kwargs={**model.kwargs, **kwargs}))


def _parking(body: bytes, step: str, due: float, wait: Subscription | None = None) -> Parking:
    return Parking(0, step, Note().pack(), token_hex(4), body, due, wait, early=())


@contextmanager
def _piped(client: Any) -> Iterator[RedisStore]:
    """Give a store whose two scripts are sent as one, and answer what they would for a new run."""
    store = RedisStore(client)
    with client.pipeline(transaction=False) as pipeline:
        answers = {"_recall": [], "_park": [b"parked"]}
        for name, answer in answers.items():
            setattr(store, name, _later(getattr(store, name), pipeline, answer))
        yield store
        pipeline.execute()


def _later(script: Any, pipeline: Any, answer: list[bytes]) -> Callable[..., list[bytes]]:
    def call(keys: list[str], args: list[Any]) -> list[bytes]:
        script(keys, args, client=pipeline)
        return answer

    return call
