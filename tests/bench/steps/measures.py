"""What is measured of steps and waits: each function starts what it needs, and answers its figures.

What a figure compares takes turns within each round, on the same servers and workers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from time import monotonic, sleep, time
from typing import Any
from uuid import uuid4

from tests.bench.figures import Figure, at_least, at_most
from tests.bench.site import own_site
from tests.bench.steps.crowd import Crowd
from tests.bench.steps.worker import StepWorker
from tests.support.processes import wait_until
from tests.support.proxy import Proxy

__all__ = ["FULL", "MEASURES", "QUICK", "Size"]

Series = defaultdict[Any, list[float]]

_KIB = 1024
_PATIENCE = 60
# Sleeps that are due at once, and how late the one in the middle may be.
_NAPS = 200
_NAPS_ALONE = 7
_FLOATING = 1_500
# Runs of a drain that park, or do nothing.
_PARKS = 300
_LATE_MS = 20.0
# Seconds before it is due that a crowd is parked; and that a worker is killed.
_AHEAD = 1.5
_LAST_MOMENT = 0.1
#: By what an append-only file makes a round trip longer.
_FSYNCS: dict[str, str | None] = {"": None, ", everysec": "everysec", ", always": "always"}


@dataclass(frozen=True, slots=True)
class Size:
    """How many rounds of each measure, and how large the crowds are."""

    rounds: int
    steps: int
    crowds: tuple[int, int, int]
    wakes: int
    weighed: int
    drained: int
    drains: int
    idle: int
    idle_seconds: float


FULL = Size(
    rounds=9, steps=200, crowds=(1_000, 100_000, 1_000_000), wakes=15, weighed=5_000,
    drained=10_000, drains=5, idle=100_000, idle_seconds=20,
)  # fmt: skip
QUICK = Size(
    rounds=3, steps=100, crowds=(1_000, 5_000, 20_000), wakes=10, weighed=1_000,
    drained=1_000, drains=3, idle=5_000, idle_seconds=4,
)  # fmt: skip


def steps(size: Size) -> Iterator[Figure]:
    """What a step takes of its body the first time, in round trips to Redis."""
    for label, fsync in _FSYNCS.items():
        taken: Series = defaultdict(list)
        with own_site(fsync=fsync) as site, StepWorker(site) as worker:
            for number in range(size.rounds + 1):
                worker.send("bench.first_pass", (size.steps,))
                told = worker.take()
                if number:  # the first round opens connections and fills caches
                    for name, seconds in told.items():
                        taken[name].append(1e6 * seconds)
        # A PING waits for no disk; where each write does, a SET is the round trip to compare.
        for other in ("ping", "set"):
            yield Figure.of(
                "redis", f"first pass of a step / {other.upper()}{label}",
                taken["step"], taken[other],
                target=at_most(3) if (other == "set") == (fsync == "always") else None,
            )  # fmt: skip
        yield Figure.of(
            "redis", f"the first step of a run / PING{label}", taken["first"], taken["ping"]
        )


def replays(size: Size) -> Iterator[Figure]:
    """What 100 finished steps add to a run that comes once more."""
    taken: Series = defaultdict(list)
    with own_site() as site, StepWorker(site) as worker:
        for number in range(size.rounds + 1):
            told = {count: _replayed(worker, count) for count in (0, 100)}
            if number:
                taken["added"].append(1e6 * (told[100]["took"] - told[0]["took"]))
                taken["ping"].append(1e6 * told[100]["ping"])
    yield Figure.of("redis", "replay of 100 steps / PING", taken["added"], taken["ping"])
    with (
        own_site() as site,
        Proxy(site.database) as proxy,
        StepWorker(site, proxy=proxy) as worker,
    ):
        _replayed(worker, 100)  # opens the connections
        trips = {}
        for count in (0, 100):
            run = f"run-{uuid4()}"
            worker.again("bench.replay", run, count)
            trips[count] = _counted(worker, proxy, run, count)
    yield Figure.of(
        "redis", "round trips that 100 finished steps add / one",
        [trips[100] - trips[0]], [1], unit="trips", target=at_most(2),
    )  # fmt: skip


def wakes(size: Size) -> Iterator[Figure]:
    """From an event's sending to its body's going on, beside few and many parked runs."""
    taken: Series = defaultdict(list)
    grown: Series = defaultdict(list)
    with ExitStack() as stack:
        workers = {}
        for crowd in size.crowds:
            site = stack.enter_context(own_site())
            workers[crowd] = worker = stack.enter_context(StepWorker(site))
            _wakes(worker, size.wakes)
            grown["before"].append(worker.resident())
            Crowd(site).waits(worker, crowd)
            _wakes(worker, size.wakes)
            grown["after"].append(worker.resident())
        for _ in range(size.rounds):
            for crowd, worker in workers.items():
                woken, landed = _wakes(worker, size.wakes)
                taken["woken", crowd].append(woken)
                taken["landed", crowd].append(landed)
    few, *more = size.crowds
    for many in more:
        yield Figure.of(
            "redis", f"wake with {many:,} parked / with {few:,}",
            taken["woken", many], taken["woken", few], target=at_most(1.5),
        )  # fmt: skip
    for crowd in size.crowds:
        yield Figure.of(
            "redis", f"wake with {crowd:,} parked / .delay()",
            taken["woken", crowd], taken["landed", crowd], target=at_most(1.3),
        )  # fmt: skip
    yield Figure.of(
        "redis", f"memory of a worker with {size.crowds[-1]:,} parked / before",
        grown["after"][-1:], grown["before"][-1:], unit="bytes", target=at_most(1.05),
    )  # fmt: skip


def weights(size: Size) -> Iterator[Figure]:
    """The bytes of Redis that a parked run takes; its order has five fields."""
    with own_site() as site, StepWorker(site) as worker:
        crowd = Crowd(site)
        # billiard.einfo copies parts of a traceback, which for a thousand runs are garbage
        # before Python collects it: a child has grown by then, and stays so.
        _park_many(worker, _FLOATING, "first")
        before, held = crowd.used(), worker.resident()
        _park_many(worker, size.weighed, "then")
        each = (crowd.used() - before) / size.weighed
        kept = worker.resident() / held
        before = crowd.used()
        crowd.waits(worker, size.weighed)
        alone = (crowd.used() - before) / size.weighed
    yield Figure.of(
        "redis", "a parked run in Redis, with Celery's result / 1 KiB",
        [each], [_KIB], unit="bytes", target=at_most(1.5),
    )  # fmt: skip
    yield Figure.of(
        "redis", "a parked run in Redis, without / 1 KiB", [alone], [_KIB], unit="bytes",
        target=at_most(1.5),
    )  # fmt: skip
    yield Figure.of(
        "redis", f"memory of a worker after {size.weighed:,} runs parked / before", [kept], [1],
        unit="", target=at_most(1.05),
    )  # fmt: skip


def parks(size: Size) -> Iterator[Figure]:
    """Runs per second that leave their worker, against tasks that do nothing."""
    rates: Series = defaultdict(list)
    with own_site() as site, StepWorker(site) as worker:
        for number in range(size.rounds + 1):
            for name in ("noop", "parks"):
                took = worker.drain(f"bench.{name}", (), _PARKS)
                if number:
                    rates[name].append(_PARKS / took["wall"])
    yield Figure.of(
        "redis", "parks per second / no-op tasks", rates["parks"], rates["noop"],
        unit="/s", target=at_least(0.6),
    )  # fmt: skip


def drains(size: Size) -> Iterator[Figure]:
    """Runs per second whose sleep ends at one moment, against tasks that do nothing."""
    rates: Series = defaultdict(list)
    with own_site() as site, StepWorker(site) as worker:
        for number in range(size.drains + 1):
            took = worker.drain("bench.noop", (), size.drained)
            told = _slept(worker, size.drained)
            if number:
                rates["noop"].append(size.drained / took["wall"])
                rates["slept"].append(size.drained / told["last"])
    yield Figure.of(
        "redis", f"{size.drained:,} sleeps due at once: runs/s / no-op tasks/s",
        rates["slept"], rates["noop"], unit="/s", target=at_least(0.8),
    )  # fmt: skip


def lateness(size: Size) -> Iterator[Figure]:
    """How late sleeps end that are due at once; also when a worker is killed just before."""
    late: Series = defaultdict(list)
    with own_site() as site, StepWorker(site) as worker:
        for number in range(size.rounds + 1):
            told = {
                "burst": _burst(worker),
                "slept": _slept(worker, _NAPS),
                "killed": _slept_through_kill(worker),
            }
            if number:
                for name, each in told.items():
                    late[name].append(1e3 * each["median"])
            if number:
                late["alone"].append(1e3 * _slept_alone(worker))
    limit = [_LATE_MS] * size.rounds
    yield Figure.of(
        "redis", f"lateness of a sleep that is due alone / {_LATE_MS:.0f} ms",
        late["alone"], limit, unit="ms", target=at_most(1),
    )  # fmt: skip
    yield Figure.of(
        "redis", f"lateness of {_NAPS} sleeps due at once / {_LATE_MS:.0f} ms",
        late["slept"], limit, unit="ms", target=at_most(1),
    )  # fmt: skip
    yield Figure.of(
        "redis", f"lateness of {_NAPS} sleeps / of as many .delay() at once",
        late["slept"], late["burst"], unit="ms", target=at_most(0.7),
    )  # fmt: skip
    yield Figure.of(
        "redis", "lateness after a SIGKILL of another worker / without",
        late["killed"], late["slept"], unit="ms", target=at_most(2),
    )  # fmt: skip


def idle(size: Size) -> Iterator[Figure]:
    """What the relay takes of a core while nothing is due."""
    used, seconds = [], []
    with (
        own_site() as site,
        StepWorker(site) as worker,
        StepWorker(site, defer=False) as plain,
    ):
        Crowd(site).waits(worker, size.idle)
        sleep(2)
        for _ in range(3):
            before, began = (worker.cpu(), plain.cpu()), monotonic()
            sleep(size.idle_seconds)
            used.append((worker.cpu() - before[0]) - (plain.cpu() - before[1]))
            seconds.append(monotonic() - began)
    yield Figure.of(
        "redis", f"CPU of an idle relay with {size.idle:,} parked / one core",
        used, seconds, unit="s", target=at_most(0.01),
    )  # fmt: skip


MEASURES: dict[str, Callable[[Size], Iterator[Figure]]] = {
    "steps": steps,
    "replays": replays,
    "wakes": wakes,
    "weights": weights,
    "parks": parks,
    "drains": drains,
    "lateness": lateness,
    "idle": idle,
}


def _park_many(worker: StepWorker, times: int, name: str) -> None:
    crowd = Crowd(worker.site)
    known = crowd.parked()
    for number in range(times):
        worker.start("bench.waits", order_id=f"{name:>8}-{number:06}")
    wait_until(lambda: crowd.parked() - known == times, "all runs are parked", 300)
    sleep(0.5)  # until the broker has forgotten the last message


def _replayed(worker: StepWorker, count: int) -> dict[str, Any]:
    """Run a run twice; answer what the second time took."""
    run = f"run-{uuid4()}"
    worker.again("bench.replay", run, count)
    return worker.again("bench.replay", run, count)


def _counted(worker: StepWorker, proxy: Any, run: str, count: int) -> float:
    before = proxy.trips
    worker.again("bench.replay", run, count)
    return float(proxy.trips - before)


def _wakes(worker: StepWorker, times: int) -> tuple[float, float]:
    """Return the microseconds from an event, and from a ``.delay()``, to the body."""
    crowd, woken, landed = Crowd(worker.site), [], []
    for _ in range(times):
        order = uuid4().hex
        run = worker.start("bench.waits", order_id=order)
        wait_until(lambda run=run: crowd.is_parked(run), f"run {run} parks", _PATIENCE)
        sleep(0.01)  # until the worker is at rest
        began = monotonic()
        worker.tell(order)
        woken.append(worker.take()["at"] - began)
        sleep(0.01)
        began = monotonic()
        worker.start("bench.lands")
        landed.append(worker.take()["at"] - began)
    return 1e6 * median(woken), 1e6 * median(landed)


def _slept(worker: StepWorker, times: int) -> dict[str, Any]:
    Crowd(worker.site).sleeps(worker, times, time() + _AHEAD + times / 5_000)
    return worker.take()


def _slept_alone(worker: StepWorker) -> float:
    """Return how late sleeps are that end one after the other."""
    late = []
    for _ in range(_NAPS_ALONE):
        worker.start_many("bench.sleeps", 1, due=time() + 0.2, times=1)
        late.append(worker.take()["median"])
    return median(late)


def _slept_through_kill(worker: StepWorker) -> dict[str, Any]:
    with StepWorker(worker.site, queue=worker.queue) as other:
        due = time() + _AHEAD
        Crowd(worker.site).sleeps(worker, _NAPS, due)
        sleep(max(0.0, due - _LAST_MOMENT - time()))
        other.kill()
        return worker.take()


def _burst(worker: StepWorker) -> dict[str, Any]:
    worker.start_many("bench.bursts", _NAPS, due=time(), times=_NAPS)
    return worker.take()
