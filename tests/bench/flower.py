"""How long the pages of the Deferred tab take, with ten thousand runs in the store.

``make bench-flower``; a page that takes longer than 300 ms makes it fail.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator

from celery import Celery

from celery_defer import Defer
from celery_defer.ids import run_id
from celery_defer.store import RunState, Store
from tests.support.flower import Flower, Visitor
from tests.support.redis import own_database
from tests.views.flower.runs import Call, add_many, add_run

__all__ = ["main"]

RUNS = 10_000
OF_ONE_PARENT = 10_000
PARKED = 5_000
VISITS = 20
LONGEST = 0.3


def main() -> None:
    """Fill a store, and print the median and the longest time of each page."""
    with own_database() as url:
        env = {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url}
        with Flower("tests.views.flower.shop", env=env) as flower, flower.visitor() as visitor:
            slow = [name for name, path in _pages(_store(url)) if not _is_fast(visitor, name, path)]
    if slow:
        sys.exit(f"longer than {LONGEST * 1000:.0f} ms: {', '.join(slow)}")


def _store(url: str) -> Store:
    app = Celery("bench", broker=url, backend=url, set_as_current=False)
    store: Store | None = Defer(app).store
    assert store
    return store


def _pages(store: Store) -> Iterator[tuple[str, str]]:
    [parent, *_] = add_many(store, RUNS, {"order": "7"})
    calls = [Call(f"call-{n}", state=RunState.PUBLISHED) for n in range(OF_ONE_PARENT)]
    crowd = add_run(store, "shop.campaign", calls)
    parked = [Call(f"call-{n}", "shop.follow_up", RunState.WAITING) for n in range(PARKED)]
    add_run(store, "shop.follow_ups", parked)
    yield "runs", "/deferred"
    yield "runs, failed", "/deferred?state=failed"
    yield "runs, of a task", "/deferred?task=shop.send_receipt"
    yield "runs, tagged", "/deferred?tag=order%3D7"
    yield "waiting", "/deferred/waiting"
    yield "waiting, for an event", "/deferred/waiting?event=parcel/delivered"
    yield "waiting, for another", "/deferred/waiting?event=parcel/lost"
    yield "outbox", "/deferred/outbox"
    yield "a run with 9 calls", f"/deferred/run/{parent}"
    yield "a deferred run", f"/deferred/run/{run_id(parent, 'receipt-3')}"
    yield f"a run with {OF_ONE_PARENT:,} calls", f"/deferred/run/{crowd}"
    yield f"one of {OF_ONE_PARENT:,} calls", f"/deferred/run/{run_id(crowd, 'call-3')}"


def _is_fast(visitor: Visitor, name: str, path: str) -> bool:
    visitor.page(path)
    times = []
    for _ in range(VISITS):
        began = time.perf_counter()
        visitor.page(path)
        times.append(time.perf_counter() - began)
    print(f"{name:<24}{statistics.median(times) * 1000:>8.0f} ms{max(times) * 1000:>8.0f} ms")
    return statistics.median(times) <= LONGEST


if __name__ == "__main__":
    main()
