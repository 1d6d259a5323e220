"""Tasks with steps, and one without; each tells the bench when it had what it waited for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from statistics import median
from time import monotonic, perf_counter, time
from typing import Any

from celery_defer import step
from tests.bench.app import app, tell

__all__: list[str] = []

_late: list[float] = []


def _order(number: int) -> dict[str, Any]:
    return {"order": number, "state": "paid"}


def _seconds(call: Callable[[], object]) -> float:
    began = perf_counter()
    call()
    return perf_counter() - began


@app.task(name="bench.first_pass")
def first_pass(times: int) -> None:
    """Take turns: a step that is new, a PING and a SET over the client that steps use."""
    client = app._celery_defer.store._client
    taken: dict[str, list[float]] = {"step": [], "ping": [], "set": []}
    for number in range(times):
        taken["ping"].append(_seconds(client.ping))
        taken["step"].append(_seconds(lambda n=number: step.run(f"charge-{n}", _order, n)))
        taken["set"].append(_seconds(lambda: client.set("bench-set", "x" * 100)))
    first = taken["step"].pop(0)  # it asks for the run's memos, too
    tell(first=first, **{name: median(times) for name, times in taken.items()})


@app.task(name="bench.replay")
def replay(count: int) -> None:
    """Pass *count* steps, which have finished when the same run comes once more."""
    took = _seconds(lambda: [step.run(f"charge-{n}", _order, n) for n in range(count)])
    client = app._celery_defer.store._client
    tell(took=took, ping=median(_seconds(client.ping) for _ in range(21)))


@app.task(name="bench.waits")
def waits(order_id: str, **order: Any) -> None:
    """Wait for the event of one order."""
    step.wait_for_event("bought", "order/bought", timeout="7d", match={"order_id": order_id})
    tell(who="woken", at=monotonic())


@app.task(name="bench.parks")
def parks(**order: Any) -> None:
    """Leave the worker for a day."""
    step.sleep("a day", "1d")


@app.task(name="bench.lands")
def lands(**order: Any) -> None:
    tell(who="landed", at=monotonic())


@app.task(name="bench.sleeps")
def sleeps(due: float, times: int, **order: Any) -> None:
    """Sleep; the last of so many runs of one child tells how late they were."""
    step.sleep_until("due", datetime.fromtimestamp(due, timezone.utc))
    _note(time() - due, times)


@app.task(name="bench.bursts")
def bursts(due: float, times: int, **order: Any) -> None:
    """Be one of so many that were published at one moment."""
    _note(time() - due, times)


def _note(late: float, times: int) -> None:
    _late.append(late)
    if len(_late) == times:
        tell(median=median(_late), first=min(_late), last=max(_late))
        _late.clear()
