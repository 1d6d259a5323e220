"""What is measured of batches: how many calls a second come through, with a batch and without."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic

from celery_defer import defer, deferring
from tests.bench.batch.functions import declare
from tests.bench.figures import Figure, at_least
from tests.bench.site import Site, own_site
from tests.bench.steps.worker import StepWorker
from tests.support.processes import wait_until

__all__ = ["FULL", "MEASURES", "QUICK", "Size"]

_PATIENCE = 180


@dataclass(frozen=True, slots=True)
class Size:
    """How many rounds, and how many calls in each."""

    rounds: int
    calls: int


FULL = Size(rounds=5, calls=10_000)
QUICK = Size(rounds=2, calls=2_000)


class BatchWorker(StepWorker):
    """A worker of tests.bench.batch.app, and a client that defers visits."""

    module = "tests.bench.batch.app"

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.functions = declare(self._client)

    def rate(self, function: str, calls: int) -> float:
        """Return how many calls a second come through: from the first ``defer`` to the last."""
        done = self.queue + "-done"
        self.redis.delete(done)
        target = getattr(self.functions, function)
        began = monotonic()
        with deferring(self._client):
            for number in range(calls):
                defer(f"{number}", target, page=f"/orders/{number}", user_id=number, took=0.25)
        wait_until(lambda: int(self.redis.get(done) or 0) >= calls, "all came", _PATIENCE)
        return calls / (monotonic() - began)


def throughput(size: Size) -> Iterator[Figure]:
    """Calls a second, in batches of a hundred, and as runs of their own."""
    rates = defaultdict(list)
    with own_site() as site, BatchWorker(site) as worker:
        for number in range(size.rounds + 1):
            for function in ("many", "each") if number % 2 else ("each", "many"):
                rate = worker.rate(function, size.calls if number else 200)
                if number:  # the first round warms up
                    rates[function].append(rate)
    yield Figure.of(
        "redis", f"{size.calls:,} calls/s: in batches of 100 / each a run",
        rates["many"], rates["each"], unit="/s", target=at_least(5),
    )  # fmt: skip


MEASURES: dict[str, Callable[[Size], Iterator[Figure]]] = {"throughput": throughput}
