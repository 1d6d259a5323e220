"""What became of an order: its parent run and the three calls, as the result backend has them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from celery_defer import RunId, run_id
from examples.shop.app import Order, app

__all__ = ["CALLS", "Outcome", "Seen", "Sent", "ids_of_calls", "outcome"]

#: The ids under which `process_order` defers.
CALLS = ("analytics", "receipt", "cache")


@dataclass(frozen=True, slots=True)
class Sent:
    """An order that was sent: the id of its run, and when."""

    order: Order
    id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Seen:
    """A run, or a call that became none; ``done_at`` is when its final state was stored."""

    state: str
    attempts: int = 0
    done_at: datetime | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """An order's parent run, its calls, and which of them the parent's result links to."""

    sent: Sent
    parent: Seen
    calls: dict[str, Seen]
    linked: frozenset[str]


def ids_of_calls(parent_id: str) -> dict[str, RunId]:
    """Answer where to look for each call: its run's id follows from the parent's."""
    return {name: run_id(parent_id, name) for name in CALLS}


def outcome(sent: Sent) -> Outcome:
    """Ask the result backend what became of *sent*."""
    ids = ids_of_calls(sent.id)
    children: list[Any] = app.AsyncResult(sent.id).children or []
    links = {child.id for child in children}
    return Outcome(
        sent,
        parent=_seen(sent.id),
        calls={name: _seen(call_id) for name, call_id in ids.items()},
        linked=frozenset(name for name, call_id in ids.items() if call_id in links),
    )


def _seen(id: str) -> Seen:
    result = app.AsyncResult(id)
    state = result.state
    if state == "PENDING":  # Celery's word for: nothing is known of it
        return Seen(state)
    return Seen(state, (result.retries or 0) + 1, result.date_done, _problem(state, result.result))


def _problem(state: str, result: Any) -> str:
    if state == "SKIPPED":
        return str(result["reason"])
    return f"{type(result).__name__}: {result}" if isinstance(result, BaseException) else ""
