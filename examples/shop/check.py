"""What became of the orders, and what must add up; only `outcome` asks Celery for results."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from celery import states

from celery_defer import run_id
from examples.shop.app import Order, Sale, app
from examples.shop.services import SHELF

__all__ = [
    "CALLS",
    "Outcome",
    "Records",
    "Run",
    "Sent",
    "Total",
    "check_totals",
    "outcome",
    "pages",
]

#: The ids under which `process_order` defers.
CALLS = ("analytics", "receipt", "cache")


@dataclass(frozen=True, slots=True)
class Sent:
    """An order that was sent: the id of its run, and when."""

    order: Order
    id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Run:
    """A run, or a call that became none; ``done_at`` is when its final state was stored."""

    state: str
    attempts: int = 0
    done_at: datetime | None = None
    problem: str = ""

    @property
    def has_ended(self) -> bool:
        return self.state in states.READY_STATES or self.state == "SKIPPED"


@dataclass(frozen=True, slots=True)
class Outcome:
    """An order's parent run, its calls, and which of them the parent's result links to."""

    sent: Sent
    parent: Run
    calls: Mapping[str, Run]
    linked: frozenset[str]

    @property
    def succeeded(self) -> bool:
        return self.parent.state == "SUCCESS"

    @property
    def has_ended(self) -> bool:
        if not self.succeeded:
            return self.parent.has_ended
        return all(call.has_ended for call in self.calls.values())

    @property
    def executed(self) -> list[Run]:
        """The runs that a worker has run to their end."""
        runs = [self.parent, *self.calls.values()]
        return [run for run in runs if run.state in ("SUCCESS", "FAILURE")]


@dataclass(frozen=True, slots=True)
class Records:
    """What the services and the worker have recorded."""

    sales: Sequence[Sale]
    mails: int
    refused_mails: int
    cached: frozenset[str]
    attempts: int


@dataclass(frozen=True, slots=True)
class Total:
    """A figure, what it must be, and where that comes from."""

    what: str
    found: object
    expected: object
    why: str = ""

    @property
    def is_right(self) -> bool:
        return self.found == self.expected


def outcome(sent: Sent) -> Outcome:
    """Ask the result backend what became of *sent*."""
    ids = {name: run_id(sent.id, name) for name in CALLS}
    children: list[Any] = app.AsyncResult(sent.id).children or []
    links = {child.id for child in children}
    return Outcome(
        sent,
        parent=_run(sent.id),
        calls={name: _run(id) for name, id in ids.items()},
        linked=frozenset(name for name, id in ids.items() if id in links),
    )


def check_totals(
    orders: Sequence[Order], outcomes: Sequence[Outcome], records: Records
) -> list[Total]:
    """Compare what happened with what orders.csv says must happen."""
    served = [order for order in orders if not _asks_too_much(order)]
    return [
        *_parents(orders, served, outcomes),
        *_calls(served, outcomes),
        *_effects(orders, served, outcomes, records),
        *_revenue(served, records.sales),
    ]


def pages(orders: Iterable[Order]) -> frozenset[str]:
    """Return the pages of all products in *orders*."""
    return frozenset(f"/products/{line.sku}" for order in orders for line in order.lines)


def _run(id: str) -> Run:
    result = app.AsyncResult(id)
    state = result.state
    if state == "PENDING":  # Celery's word for: nothing is known of it
        return Run(state)
    return Run(state, (result.retries or 0) + 1, result.date_done, _problem(state, result.result))


def _problem(state: str, result: Any) -> str:
    if state == "SKIPPED":
        return str(result["reason"])
    return f"{type(result).__name__}: {result}" if isinstance(result, BaseException) else ""


def _parents(
    orders: Sequence[Order], served: Sequence[Order], outcomes: Sequence[Outcome]
) -> Iterator[Total]:
    count = Counter(outcome.parent.state for outcome in outcomes)
    good, bad = count["SUCCESS"], count["FAILURE"]
    too_much = len(orders) - len(served)
    yield Total("orders sent", len(orders), good + bad, f"= {good} succeeded + {bad} failed")
    yield Total("orders failed", bad, too_much, "= more than the warehouse has")


def _calls(served: Sequence[Order], outcomes: Sequence[Outcome]) -> Iterator[Total]:
    count = Counter(call.state for outcome in outcomes for call in outcome.calls.values())
    skipped = count["SKIPPED"]
    published = count.total() - count["PENDING"] - skipped
    parents = sum(outcome.succeeded for outcome in outcomes)
    linked = sum(len(outcome.linked) for outcome in outcomes)
    no_address = sum("@" not in order.email for order in served)
    of_failed = [c for o in outcomes if not o.succeeded for c in o.calls.values()]
    after_failure = sum(call.state != "PENDING" for call in of_failed)
    expected = len(CALLS) * parents - skipped
    why = f"= {len(CALLS)} x {parents} succeeded - {skipped} skipped"
    yield Total("deferred runs published", published, expected, why)
    yield Total("deferred runs SUCCESS", count["SUCCESS"], published, "= all of them")
    yield Total("linked from their parents", linked, published, "= all of them")
    yield Total("calls skipped", skipped, no_address, "= orders without an e-mail address")
    yield Total("published by failed orders", after_failure, 0)


def _effects(
    orders: Sequence[Order], served: Sequence[Order], outcomes: Sequence[Outcome], records: Records
) -> Iterator[Total]:
    executed = [run for outcome in outcomes for run in outcome.executed]
    retries = sum(run.attempts - 1 for run in executed)
    mails = sum("@" in order.email for order in served)
    cached = len(records.cached & pages(orders))
    not_dropped = len(pages(orders) - pages(served))
    attempts, why = len(executed) + retries, f"= {len(executed)} runs + {retries} retries"
    yield Total("receipts in the mail", records.mails, mails, "= orders with an e-mail address")
    yield Total("retries", retries, records.refused_mails, "= connections a mail server refused")
    yield Total("attempts, as the worker counts", records.attempts, attempts, why)
    yield Total("product pages still cached", cached, not_dropped, "= only in failed orders")


def _revenue(served: Sequence[Order], sales: Sequence[Sale]) -> Iterator[Total]:
    """Compare what the analytics runs entered in the ledger with the CSV: by day, by currency."""
    days, due_days = Counter(map(_day, sales)), Counter(map(_day, served))
    revenue, due = _by_currency(sales), _by_currency(served)
    yield Total("sales in the ledger", len(sales), len(served), "= orders served")
    yield Total("days of these, in UTC", dict(days), dict(due_days), "= days of the orders")
    for currency in sorted(revenue.keys() | due.keys()):
        yield Total(f"revenue {currency}", revenue.get(currency), due.get(currency))


def _by_currency(sales: Iterable[Order | Sale]) -> Mapping[str, Decimal]:
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    for sale in sales:
        totals[sale.currency] += sale.total
    return totals


def _day(sale: Order | Sale) -> str:
    return sale.placed_at.astimezone(timezone.utc).date().isoformat()


def _asks_too_much(order: Order) -> bool:
    return any(line.quantity > SHELF for line in order.lines)
