"""What is measured of limits: each function starts what it needs, and returns its figures.

What a figure compares takes turns within each round, on the same machine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from time import monotonic, sleep
from typing import Any

from tests.bench.figures import Figure, Target, at_most
from tests.bench.flow.functions import QUIET
from tests.bench.flow.line import Line
from tests.bench.flow.worker import FlowWorker
from tests.bench.site import own_site
from tests.support.processes import wait_until
from tests.support.proxy import Proxy

__all__ = ["FULL", "MEASURES", "QUICK", "Size"]

Series = defaultdict[Any, list[float]]

_PATIENCE = 60
# Runs whose round trips are counted, one after the other.
_COUNTED = 10


@dataclass(frozen=True, slots=True)
class Size:
    """How many rounds of each measure, and how large the crowds are."""

    rounds: int
    drained: int
    crowds: tuple[int, int]
    starts: int
    keyed: int
    customers: tuple[int, int]
    turns: int
    idle: int
    idle_seconds: float


FULL = Size(
    rounds=9, drained=1_000, crowds=(1_000, 100_000), starts=50, keyed=100_000,
    customers=(10, 10_000), turns=25, idle=100_000, idle_seconds=20,
)  # fmt: skip
QUICK = Size(
    rounds=3, drained=300, crowds=(500, 5_000), starts=30, keyed=4_000, customers=(10, 1_000),
    turns=10, idle=5_000, idle_seconds=4,
)  # fmt: skip


def free(size: Size) -> Iterator[Figure]:
    """What a function without limits pays for those of others in its app."""
    taken: Series = defaultdict(list)
    with (
        own_site() as site,
        FlowWorker(site) as beside,
        FlowWorker(site, limits=False) as alone,
    ):
        for number in range(size.rounds + 1):
            for name, worker in {"beside": beside, "alone": alone}.items():
                seconds = _drained(worker, "free", size.drained)
                if number:  # the first round opens connections and fills caches
                    taken[name].append(1e6 * seconds / size.drained)
    yield Figure.of(
        "redis", "a run without limits, beside functions with limits / without them",
        taken["beside"], taken["alone"], target=at_most(1.03),
    )  # fmt: skip


def limited(size: Size) -> Iterator[Figure]:
    """What a limit that nobody reaches takes of a run, beside a run without limits."""
    taken: Series = defaultdict(list)
    functions = ("free", "many", "paced")
    with own_site() as site, FlowWorker(site) as worker:
        for number in range(size.rounds + 1):
            for function in functions:
                seconds = _drained(worker, function, size.drained)
                if number:
                    taken[function].append(1e6 * seconds / size.drained)
    for function, limit in {"many": "concurrency", "paced": "throttle"}.items():
        yield Figure.of(
            "redis", f"a run with {limit} / without", taken[function], taken["free"]
        )  # fmt: skip


def trips(size: Size) -> Iterator[Figure]:
    """The round trips of a run that starts as it arrives: until its body, and in all."""
    counted: dict[str, tuple[float, float]] = {}
    with own_site() as site, Proxy(site.database) as proxy, FlowWorker(site, proxy=proxy) as worker:
        for function in ("free", "many", "paced", "free", "many", "paced"):
            counted[function] = _trips(worker, proxy, function)
    for function, limit in {"many": "concurrency", "paced": "throttle"}.items():
        (before, in_all), (free_before, free_in_all) = counted[function], counted["free"]
        yield Figure.of(
            "redis", f"round trips until the body, with {limit} / without",
            [before], [free_before], unit="trips", target=at_most(1),
        )  # fmt: skip
        yield Figure.of(
            "redis", f"round trips in all, with {limit} / without",
            [in_all], [free_in_all], unit="trips", target=_one_more(free_in_all),
        )  # fmt: skip


def lines(size: Size) -> Iterator[Figure]:
    """How long a freed place takes to be used, by how many wait."""
    few, many = size.crowds
    gaps: Series = defaultdict(list)
    with ExitStack() as stack:
        held = {crowd: _line(stack, "one", crowd) for crowd in size.crowds}
        for number in range(size.rounds + 1):
            for crowd, line in held.items():
                gap = line.gap(size.starts)
                if number:
                    gaps[crowd].append(gap)
    yield Figure.of(
        "redis", f"from start to start with {many:,} held / with {few:,}",
        gaps[many], gaps[few], target=at_most(1.5),
    )  # fmt: skip


def keys(size: Size) -> Iterator[Figure]:
    """How long a freed place takes to be used, by how many keys wait for it."""
    few, many = size.customers
    gaps: Series = defaultdict(list)
    with ExitStack() as stack:
        held = {n: _line(stack, "keyed", size.keyed, n) for n in size.customers}
        for number in range(size.rounds + 1):
            for customers, line in held.items():
                gap = line.gap(size.starts)
                if number:
                    gaps[customers].append(gap)
    yield Figure.of(
        "redis", f"from start to start, {size.keyed:,} held: {many:,} keys / {few:,}",
        gaps[many], gaps[few], target=at_most(1.5),
    )  # fmt: skip


def freed(size: Size) -> Iterator[Figure]:
    """From the end of a body to the start of the next, beside a ``.delay()``."""
    taken: Series = defaultdict(list)
    with own_site() as site, FlowWorker(site, children=3) as worker:
        for number in range(size.rounds + 1):
            ended, freed = _turns(worker, size.turns)
            sent = [_sent(worker) for _ in range(size.turns)]
            if number:
                taken["ended"].append(1e6 * median(ended))
                taken["freed"].append(1e6 * median(freed))
                taken["sent"].append(1e6 * median(sent))
    yield Figure.of(
        "redis", "from a stored result to the next start / .delay() to the body",
        taken["freed"], taken["sent"], target=at_most(1.5),
    )  # fmt: skip
    yield Figure.of(
        "redis", "from the end of a body to the next start / .delay() to the body",
        taken["ended"], taken["sent"],
    )  # fmt: skip


def idle(size: Size) -> Iterator[Figure]:
    """What the relay takes of a core while nobody may start."""
    used, seconds = [], []
    with (
        own_site() as site,
        FlowWorker(site, children=2) as worker,
        FlowWorker(site, children=2, defer=False) as plain,
    ):
        line = Line(worker, "turns")
        line.pause()
        line.fill(size.idle)
        worker.store.pause("bench.turns", is_paused=False)
        worker.take_of("began")  # it has the only place
        sleep(2)
        for _ in range(3):
            before, began = (worker.cpu(), plain.cpu()), monotonic()
            sleep(size.idle_seconds)
            used.append((worker.cpu() - before[0]) - (plain.cpu() - before[1]))
            seconds.append(monotonic() - began)
        line.pause()
        worker.end_turn()
        worker.take_of("over")
    yield Figure.of(
        "redis", f"CPU of an idle relay with {size.idle:,} held / one core",
        used, seconds, unit="s", target=at_most(0.01),
    )  # fmt: skip


MEASURES: dict[str, Callable[[Size], Iterator[Figure]]] = {
    "free": free,
    "limited": limited,
    "trips": trips,
    "lines": lines,
    "keys": keys,
    "freed": freed,
    "idle": idle,
}


def _one_more(trips: float) -> Target:
    return at_most((trips + 1) / trips)


def _drained(worker: FlowWorker, function: str, times: int) -> float:
    """Return the seconds that so many runs take, all of which are published before the first."""
    worker.hold()
    worker.call(function, [QUIET] * times)
    worker.send("bench.mark")
    worker.let_go()
    return worker.take_of("wall")


def _trips(worker: FlowWorker, proxy: Proxy, function: str) -> tuple[float, float]:
    """Return the round trips of a run, until its body and in all."""
    before, in_all = [], []
    for _ in range(_COUNTED):
        sleep(0.3)  # until the worker is at rest
        began = proxy.trips
        worker.call(function)
        worker.take_of("at")
        before.append(proxy.trips - began)
        sleep(0.3)
        in_all.append(proxy.trips - began)
    return median(before), median(in_all)


def _line(stack: ExitStack, function: str, held: int, customers: int = 1) -> Line:
    """Start a worker whose runs are held back, on a Redis of its own."""
    site = stack.enter_context(own_site())
    line = Line(stack.enter_context(FlowWorker(site)), function, customers)
    line.pause()
    line.fill(held)
    return line


def _turns(worker: FlowWorker, times: int) -> tuple[list[float], list[float]]:
    """Return how long each next run takes to start: from the end of a body, and of its run."""
    worker.call("turns")
    worker.take_of("began")
    since_body, since_run = [], []
    for _ in range(times):
        worker.call("turns")
        wait_until(lambda: worker.state_of("turns").held == 1, "the next is held", _PATIENCE)
        sleep(0.05)  # until the worker is at rest
        worker.end_turn()
        told: dict[str, float] = {}
        while len(told) < 3:  # the next may begin before the end is told
            told |= worker.take()
        since_body.append(told["began"] - told["ended"])
        since_run.append(told["began"] - told["over"])
    worker.end_turn()
    worker.take_of("over")
    return since_body, since_run


def _sent(worker: FlowWorker) -> float:
    worker.send("bench.sends")
    sleep(0.05)  # until the worker is at rest
    worker.end_turn()
    return worker.take_of("landed")
