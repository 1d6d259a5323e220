"""A worker whose functions have limits, and a client that defers them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery_defer import defer, deferring, run_id
from celery_defer.ids import RunId
from tests.bench.flow.functions import declare
from tests.bench.site import Site
from tests.bench.steps.worker import StepWorker
from tests.support.proxy import Proxy

__all__ = ["FlowWorker"]


class FlowWorker(StepWorker):
    """A worker of tests.bench.flow.app; without *limits* no function of its app has any."""

    module = "tests.bench.flow.app"

    def __init__(
        self,
        site: Site,
        *,
        defer: bool = True,
        proxy: Proxy | None = None,
        limits: bool = True,
        children: int = 1,
    ) -> None:
        super().__init__(site, defer=defer, proxy=proxy)
        self._children = children
        self._config["limits"] = limits
        self.functions = declare(self._client)

    def call(self, function: str, customers: Sequence[int] = (0,)) -> list[RunId]:
        """Defer calls of a function, one for each customer."""
        with deferring(self._client) as parent:
            for number, customer in enumerate(customers):
                defer(f"{number}", getattr(self.functions, function), customer=customer)
        return [run_id(parent.id, f"{number}") for number in range(len(customers))]

    def end_turn(self) -> None:
        """Let one body of ``turns`` end."""
        self.redis.rpush(self.queue + "-turn", "end")

    def take_of(self, fact: str) -> float:
        """Wait for the next fact of this name, whatever else is told before."""
        while fact not in (told := self.take()):
            pass
        return float(told[fact])

    def take_rest(self) -> None:
        """Forget what was told until now."""
        self.redis.delete(self.queue + "-records")

    def state_of(self, function: str) -> Any:
        return self.store.flow([f"bench.{function}"])[0]
