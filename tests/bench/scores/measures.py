"""What is measured of scores: the time of one, the time and the memory of a comparison."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any
from uuid import UUID

from celery import Celery
from redis import Redis

from celery_defer import Defer, compare, score
from celery_defer.ids import RunId
from celery_defer.store import ScoreRow
from tests.bench.figures import Figure, at_most
from tests.bench.site import own_site

__all__ = ["FULL", "MEASURES", "QUICK", "Size"]

_KEEP = 86_400.0
#: What a comparison may take: in seconds, and in MB.
_SECONDS, _MEGABYTES = 2.0, 200.0


@dataclass(frozen=True, slots=True)
class Size:
    """How many rounds, how many scores in each, and how many runs are compared."""

    rounds: int
    scores: int
    runs: int


FULL = Size(rounds=5, scores=2_000, runs=100_000)
QUICK = Size(rounds=3, scores=200, runs=5_000)


def write(size: Size) -> Iterator[Figure]:
    """One score, beside one round trip that does nothing."""
    with _app() as (app, redis):
        ours, theirs = [], []
        for number in range(size.rounds):
            run = str(UUID(int=number))
            ours.append(_each(size.scores, lambda n, run=run: _score(app, run, n)))
            theirs.append(_each(size.scores, lambda _: redis.ping()))
        yield Figure.of("redis", "one score, beside one PING", ours, theirs)


def compared(size: Size) -> Iterator[Figure]:
    """A comparison of many runs, each with a score."""
    with _app() as (app, redis):
        before = redis.info("memory")["used_memory"]
        _fill(app._celery_defer.store, size.runs)
        used = (redis.info("memory")["used_memory"] - before) / size.runs
        rss = _peak()
        taken = [_timed(lambda: compare("flow", app=app)) for _ in range(size.rounds)]
        grown = _peak() - rss
        name = f"compare {size.runs:,} scored runs"
        limit = [_SECONDS] * len(taken)
        yield Figure.of("redis", name, taken, limit, unit="s", target=at_most(1.0))
        peak = at_most(1.0)
        yield Figure.of("redis", f"{name}: memory", [grown], [_MEGABYTES], unit="MB", target=peak)
        yield Figure.of("redis", "a scored run, in Redis", [used], [1_000.0], unit="bytes")


MEASURES: dict[str, Callable[[Size], Iterator[Figure]]] = {"write": write, "compare": compared}


# -- private ------------------------------------------------------------------------------


@contextmanager
def _app() -> Iterator[tuple[Any, Any]]:
    with own_site() as site, Redis.from_url(site.backend) as client:
        app = Celery("bench", broker=site.broker, backend=site.backend, set_as_current=False)
        Defer(app)
        yield app, client
        app.close()


def _score(app: Any, run: str, number: int) -> None:
    score("tone", number, run_id=run, app=app)


def _fill(store: Any, runs: int) -> None:
    """Assign runs to two variants, and score each."""
    chance = random.Random(1)
    for number in range(runs):
        run, variant = RunId(str(UUID(int=chance.getrandbits(128)))), "ab"[number % 2]
        store.assign(run, "flow", variant, _KEEP, 0.0)
        row = ScoreRow(run, "tone", chance.random())
        store.score([row], ["key"], "bench", _KEEP, is_known=True)


def _each(count: int, run: Callable[[int], object]) -> float:
    """Return the microseconds that each of so many calls takes."""
    return _timed(lambda: [run(number) for number in range(count)]) / count * 1e6


def _timed(run: Callable[[], object]) -> float:
    start = monotonic()
    run()
    return monotonic() - start


def _peak() -> float:
    """Return the most memory that this process has had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
