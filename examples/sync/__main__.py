"""``python -m examples.sync [PICTURE]``: a day is closed, a price changed, pages opened.

On a real worker with sixteen threads; what starts, and when, is decided by the limits.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from tempfile import gettempdir
from time import monotonic, sleep

from celery_defer import RunId, record, run_id
from examples.program import program
from examples.sync.app import Call, app, change_price, close_day, open_pages
from examples.sync.plot import draw
from examples.worker import running_worker

MODULE = "examples.sync.app"
THREADS = ("--pool=threads", "--concurrency=16")
ORDERS = {"chain store": 16, "bakery": 4, "florist": 4}
PRICES = ["19", "18", "17", "16", "15"]


def main() -> None:
    with program(app) as url, running_worker(app, MODULE, *THREADS, SYNC_REDIS_URL=url):
        calls = show_calls()
        show_index()
        show_views()
        picture(calls, sys.argv[1] if sys.argv[1:] else f"{gettempdir()}/sync.png")


def show_calls() -> list[Call]:
    print("24 orders for a partner who takes 0.4 seconds for each: 2 at a time for a customer,")
    print("and 10 starts in a second.")
    day = close_day.delay(ORDERS)
    ids = [run_id(day.id, f"{name}-{n}") for name, number in ORDERS.items() for n in range(number)]
    calls: list[Call] = [app.AsyncResult(id).get(timeout=60) for id in ids]
    first = min(call["began"] for call in calls)
    for name in ORDERS:
        its = [call for call in calls if call["customer"] == name]
        last = max(call["ended"] for call in its) - first
        print(
            f"  {name:12}{len(its):3} orders, at most {at_once(its)} at once, done in {last:.1f} s"
        )
    # A body begins some milliseconds after it was let through.
    seconds = Counter(int(call["began"] - first + 0.05) for call in calls)
    print("  starts in each second:", *(seconds[second] for second in range(max(seconds) + 1)))
    return calls


def at_once(calls: Sequence[Call]) -> int:
    """Return how many calls were in progress at the same time, at most."""
    return max(
        sum(other["began"] <= call["began"] < other["ended"] for other in calls) for call in calls
    )


def show_index() -> None:
    print(f"\nThe price of a teapot is changed {len(PRICES)} times:")
    ids = [change_price.delay("teapot", price).get(timeout=20) for price in PRICES]
    print(f"  the index has {app.AsyncResult(ids[-1]).get(timeout=20)}")
    for price, id in zip(PRICES, ids, strict=True):
        print(f"  the run for {price}: {record(id).run.state.value}")


def show_views() -> None:
    print("\n200 pages are opened:")
    opened = open_pages.delay([f"/product/{number % 7}" for number in range(200)])
    opened.get(timeout=20)
    written = {run: app.AsyncResult(run).get(timeout=20) for run in batches_of(opened.id)}
    print(f"  {sum(written.values())} page views are written by {len(written)} runs")


def batches_of(parent: str, seconds: float = 20) -> set[RunId]:
    """Return the runs that take the calls of a run, when each call is in one."""
    deadline = monotonic() + seconds
    runs = {call.batch for call in record(parent).defers}
    while None in runs and monotonic() < deadline:
        sleep(0.1)
        runs = {call.batch for call in record(parent).defers}
    return {run for run in runs if run}


def picture(calls: Sequence[Call], path: str) -> None:
    try:
        draw(calls, path)
    except ImportError as error:  # matplotlib is an extra
        print(f"\nNo picture: {error}")
    else:
        print(f"\nThe calls of the partner as a picture: {path}")


if __name__ == "__main__":
    main()
