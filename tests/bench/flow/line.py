"""Many runs that are held back: written as a worker has written one, by the store's own script."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice, pairwise
from secrets import token_hex
from statistics import median
from time import time
from typing import Any
from uuid import uuid4

from celery_defer.contract import deferrable
from celery_defer.ids import RunId
from celery_defer.outbox import ParkedRun, pack, unpack
from celery_defer.store import Holding, RedisStore
from tests.bench.flow.worker import FlowWorker
from tests.support import stored
from tests.support.processes import wait_until

__all__ = ["Line"]

_DAY = 86_400.0
_PIPED = 1_000
_PATIENCE = 60
#: What the script returns for a run that is held back.
_LATER = [[b"later", b"pause", b"", b"", b""], None, [], 0]


class Line:
    """The runs of a function that wait for their place."""

    def __init__(self, worker: FlowWorker, function: str, customers: int = 1) -> None:
        self._worker, self._function = worker, function
        self._customers = customers
        self._limits: Any = deferrable(getattr(worker.functions, function))

    def fill(self, times: int) -> None:
        """Hold so many runs back, each for one of the customers in turn; nobody starts."""
        model, client = self._model(), self._worker.redis
        customers = (number % self._customers for number in range(1, times))
        while batch := list(islice(customers, _PIPED)):
            with client.pipeline(transaction=False) as pipeline:
                store: Any = RedisStore(client)
                store._hold = _later(store._hold, pipeline)
                for customer in batch:
                    self._hold(store, model, customer)
                pipeline.execute()
        wait_until(lambda: self.held == times, f"{times:,} runs are held", _PATIENCE)

    def pause(self) -> None:
        """Let nobody start."""
        self._worker.store.pause(f"bench.{self._function}", is_paused=True)

    def gap(self, starts: int) -> float:
        """Return the microseconds from one start to the next, of so many in a row."""
        self._worker.store.pause(f"bench.{self._function}", is_paused=False)
        at = sorted(self._worker.take_of("at") for _ in range(starts))
        self.pause()
        wait_until(lambda: not self._is_used, "all rest", _PATIENCE)
        self._worker.take_rest()
        return 1e6 * median(then - now for now, then in pairwise(at))

    @property
    def held(self) -> int:
        """How many runs are held back."""
        return int(self._worker.state_of(self._function).held)

    @property
    def _is_used(self) -> bool:
        return any(limit.running for limit in self._worker.state_of(self._function).limits)

    def _model(self) -> ParkedRun:
        """Return the record of a run that a worker holds back."""
        [run] = self._worker.call(self._function)
        wait_until(lambda: self.held == 1, f"run {run} is held", _PATIENCE)
        key = f"celery-defer:{{{run}}}:outbox"
        record = unpack(run, stored.field_of(self._worker.redis, key, "body"))
        assert isinstance(record, ParkedRun)
        return record

    def _hold(self, store: RedisStore, model: ParkedRun, customer: int) -> None:
        now, run, kwargs = time(), RunId(str(uuid4())), {"customer": customer}
        record = replace(model, id=run, kwargs=kwargs, options={**model.options, "root_id": run})
        contract = self._limits.contract
        ask = self._limits.limits.ask(
            run, model.task, token_hex(8), (), kwargs, lease=30.0, contract=contract
        )
        holding = Holding(0, token_hex(4), pack(record), now + _DAY)
        store.hold(ask, holding, now=now, until=now + 10, keep=7 * _DAY)


def _later(script: Any, pipeline: Any) -> Callable[..., list[Any]]:
    def call(keys: list[str], args: list[Any]) -> list[Any]:
        script(keys, args, client=pipeline)
        return _LATER

    return call
