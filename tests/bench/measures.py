"""What is measured: each function drives workers, and answers its figures.

The ways take turns within each round, and each round begins with another, so that drift
of the machine and what one leaves behind for the next cancel out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeVar

from tests.bench.figures import Figure, at_least, at_most
from tests.bench.history import bytes_of_record
from tests.bench.site import Site
from tests.bench.worker import Worker
from tests.support.proxy import Proxy

__all__ = ["FULL", "MEASURES", "QUICK", "Size"]

T = TypeVar("T")

# How many follow-ups a parent has, and how many such parents make a round.
COUNTS = {1: 10, 10: 4, 100: 1}
WAYS = ("defer", "delay", "link")
# What the whole cost of so many follow-ups may be, as a part of what `.delay()` costs.
_TARGETS = {
    "redis": {1: at_most(0.65), 100: at_most(1 / 9)},
    "rabbitmq": {1: at_most(1.15), 100: at_most(1 / 5)},
    "rabbitmq, no store": {100: at_most(1 / 2)},
}
Series = defaultdict[Any, list[float]]


@dataclass(frozen=True, slots=True)
class Size:
    """How many rounds of each measure, tasks in a drain, and pairs of workers for the no-ops."""

    costs: int
    drains: int
    drained: int
    pairs: int
    landings: int


FULL = Size(costs=30, drains=12, drained=300, pairs=3, landings=20)
QUICK = Size(costs=5, drains=2, drained=200, pairs=1, landings=4)


def costs(site: Site, size: Size) -> Iterator[Figure]:
    """What 1, 10 and 100 follow-ups take of their parent: in the body, and in all."""
    body, added = _costs(site, size.costs)
    on_redis = site.name == "redis"
    targets = _TARGETS.get(site.name, {})
    for count in COUNTS:
        target = at_most(1 / 50) if on_redis and count == 100 else None
        yield Figure.of(
            site.name, f"body: {_calls(count)} of defer / .delay()",
            body["defer", count], body["delay", count], target=target,
        )  # fmt: skip
    each = [time / 100 for time in body["defer", 100]], [time / 100 for time in body["delay", 100]]
    yield Figure.of(site.name, "body: one of those 100 calls / one .delay()", *each)
    for count in COUNTS:
        for other in ("delay", "link"):
            yield Figure.of(
                site.name, f"parent: + {count} defer / {_NAMES[other]}",
                added["defer", count], added[other, count],
                target=targets.get(count) if other == "delay" else None,
            )  # fmt: skip
    if on_redis:
        yield Figure.of(
            site.name, "parent: + 100 defer / .delay(), stretch",
            added["defer", 100], added["delay", 100], target=at_most(1 / 10),
        )  # fmt: skip


def trips(site: Site, size: Size) -> Iterator[Figure]:
    """How often a parent waits for Redis, counted by a proxy before broker, backend and store."""
    if site.name != "redis":
        return
    with Proxy(site.database) as proxy, Worker(site, timed=True, proxy=proxy) as worker:
        counted = {}
        for way in WAYS:
            for count in (100, *COUNTS):  # the first time opens the connections
                before = proxy.trips
                _parent(worker, way, count)
                counted[way, count] = [float(proxy.trips - before)]
    yield Figure.of(
        site.name, "round trips: parent with 100 defer / with 1",
        counted["defer", 100], counted["defer", 1], unit="trips", target=at_most(1),
    )  # fmt: skip
    for other in ("delay", "link"):
        yield Figure.of(
            site.name, f"round trips: 100 defer / {_NAMES[other]}",
            counted["defer", 100], counted[other, 100], unit="trips",
        )  # fmt: skip


def parents(site: Site, size: Size) -> Iterator[Figure]:
    """Parents per second, each with one follow-up that nobody consumes."""
    rates: Series = defaultdict(list)
    with Worker(site) as worker:
        for number in range(size.drains + 1):
            for way in _turned(WAYS, number):
                links = [worker.link("bench.plain")] if way == "link" else []
                took = worker.drain(f"bench.parent_{way}", (1,), size.drained, links)
                if number:  # the first round warms up
                    rates[way].append(size.drained / took["wall"])
            worker.purge()
    for other in ("delay", "link"):
        yield Figure.of(
            site.name, f"parents/s with 1 defer / {_NAMES[other]}", rates["defer"], rates[other],
            unit="/s",
            target=at_least(1.12) if (site.name, other) == ("redis", "delay") else None,
        )  # fmt: skip


def latency(site: Site, size: Size) -> Iterator[Figure]:
    """From the parent's return to the start of the follow-up.

    Not from its stored success: Celery publishes a link before it stores that.
    """
    taken: Series = defaultdict(list)
    with Worker(site, timed=True, children=2) as worker:
        for number in range(size.landings + 1):
            landed = {way: _landings(worker, way) for way in _turned(("defer", "link"), number)}
            for way, waited in landed.items():
                if number:
                    taken[way].append(waited)
    yield Figure.of(
        site.name, "latency: parent's return to child, defer / link=",
        taken["defer"], taken["link"],
        target=at_most(1.05) if site.name == "redis" else None,
    )  # fmt: skip


def noops(site: Site, size: Size) -> Iterator[Figure]:
    """Tasks per second that do nothing, with the package and without."""
    tasks = size.drained * 2
    rates: Series = defaultdict(list)
    cpu: Series = defaultdict(list)
    for _ in range(size.pairs):  # one process may be a percent faster than its twin
        with ExitStack() as stack:
            workers = {on: stack.enter_context(Worker(site, defer=on)) for on in (True, False)}
            for number in range(size.drains + 1):
                for on in _turned((True, False), number):
                    took = workers[on].drain("bench.noop", (), tasks)
                    if number:
                        rates[on].append(tasks / took["wall"])
                        cpu[on].append(1e6 * took["cpu"] / tasks)
    yield Figure.of(
        site.name, "no-op tasks/s with Defer(app) / without", rates[True], rates[False],
        unit="/s", target=at_least(0.99) if site.name == "redis" else None,
    )  # fmt: skip
    yield Figure.of(site.name, "no-op CPU of the child with / without", cpu[True], cpu[False])


def records(site: Site, size: Size) -> Iterator[Figure]:
    """What the record of a run costs: parents a second, round trips, and memory."""
    if site.name != "redis":
        return
    rates: Series = defaultdict(list)
    with ExitStack() as stack:
        workers = {on: stack.enter_context(Worker(site, record=on)) for on in (True, False)}
        for number in range(size.drains + 1):
            for on in _turned((True, False), number):
                took = workers[on].drain("bench.parent_defer", (1,), size.drained)
                if number:
                    rates[on].append(size.drained / took["wall"])
                workers[on].purge()
    yield Figure.of(
        site.name, "parents/s with 1 defer, with the record / without", rates[True], rates[False],
        unit="/s", target=at_least(0.95),
    )  # fmt: skip
    counted = {}
    for on in (True, False):
        with (
            Proxy(site.database) as proxy,
            Worker(site, timed=True, proxy=proxy, record=on) as worker,
        ):
            for _ in range(2):  # the first time opens the connections
                before = proxy.trips
                _parent(worker, "defer", 1)
            counted[on] = [float(proxy.trips - before)]
    yield Figure.of(
        site.name, "round trips: 1 defer, with the record / without",
        counted[True], counted[False], unit="trips", target=at_most(1),
    )  # fmt: skip
    yield from (
        Figure.of(
            site.name, f"bytes of a deferred run's record: {calls} calls a parent / 400",
            [float(bytes_of_record(calls))], [400.0], unit="bytes", target=at_most(1),
        )
        for calls in (10, 100)
    )  # fmt: skip


MEASURES: dict[str, Callable[[Site, Size], Iterator[Figure]]] = {
    "costs": costs,
    "trips": trips,
    "parents": parents,
    "latency": latency,
    "noops": noops,
    "records": records,
}
_NAMES = {"delay": ".delay()", "link": "link="}


def _costs(site: Site, rounds: int) -> tuple[Series, Series]:
    body: Series = defaultdict(list)
    added: Series = defaultdict(list)
    with Worker(site, timed=True) as worker:
        for number in range(rounds + 1):
            for count, parents in COUNTS.items():
                nothing = _parents(worker, "link", 0, parents + 3)
                for way in _turned(WAYS, number):
                    times = _parents(worker, way, count, parents)
                    if number:  # the first round opens connections and fills caches
                        body[way, count].append(times["body"])
                        added[way, count].append(times["whole"] - nothing["whole"])
            worker.purge()
    return body, added


def _parents(worker: Worker, way: str, count: int, times: int) -> dict[str, float]:
    told = [_parent(worker, way, count) for _ in range(times)]
    return {part: 1e6 * median(each[part] for each in told) for part in ("body", "whole")}


def _parent(worker: Worker, way: str, count: int) -> dict[str, Any]:
    links = [worker.link("bench.plain")] * count if way == "link" else []
    worker.send(f"bench.parent_{way}", (count,), links)
    return worker.take()


def _landings(worker: Worker, way: str, times: int = 15) -> float:
    return median(_landing(worker, way) for _ in range(times))


def _landing(worker: Worker, way: str) -> float:
    links = [worker.link("bench.plain_landing")] if way == "link" else []
    worker.send("bench.parent_landing", (0 if links else 1,), links)
    told = {fact["who"]: fact for fact in (worker.take(), worker.take())}
    return 1e6 * (told["child"]["started"] - told["parent"]["returned"])


def _turned(ways: Sequence[T], number: int) -> Sequence[T]:
    turn = number % len(ways)
    return [*ways[turn:], *ways[:turn]]


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{count} calls"
