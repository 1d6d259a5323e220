"""What must add up once all orders are through; decides only, so it is easy to test."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timezone
from decimal import Decimal

from examples.shop.app import Order, Sale
from examples.shop.outcome import Outcome
from examples.shop.outside import SHELF

__all__ = ["Records", "Total", "check_totals", "pages"]


@dataclass(frozen=True, slots=True)
class Records:
    """What others have on record: the ledger, the mail, the cache, the worker."""

    sales: Sequence[Sale]
    mails: int
    refused_mails: int
    cached: frozenset[str]
    worked: int


@dataclass(frozen=True, slots=True)
class Total:
    """A figure, what it must be, and where that comes from."""

    what: str
    found: object
    expected: object
    why: str

    @property
    def is_right(self) -> bool:
        return self.found == self.expected


def check_totals(
    orders: Sequence[Order], outcomes: Sequence[Outcome], records: Records
) -> list[Total]:
    """Compare what happened with what orders.csv says must happen."""
    succeeded = [outcome for outcome in outcomes if outcome.parent.state == "SUCCESS"]
    served = [order for order in orders if not _asks_too_much(order)]
    return [
        *_parents(orders, served, outcomes),
        *_deferred(served, succeeded, outcomes),
        *_effects(orders, served, outcomes, records),
        *_revenue(served, records.sales),
    ]


def pages(orders: Iterable[Order]) -> frozenset[str]:
    """Answer the pages of all products in *orders*."""
    return frozenset(f"/products/{line.sku}" for order in orders for line in order.lines)


def _parents(
    orders: Sequence[Order], served: Sequence[Order], outcomes: Sequence[Outcome]
) -> list[Total]:
    states = Counter(outcome.parent.state for outcome in outcomes)
    ended = states["SUCCESS"] + states["FAILURE"]
    too_much = len(orders) - len(served)
    return [
        Total(
            "orders sent",
            len(orders),
            ended,
            f"= {states['SUCCESS']} succeeded + {states['FAILURE']} failed",
        ),
        Total(
            "orders failed",
            states["FAILURE"],
            too_much,
            "= asked for more than the warehouse has",
        ),
    ]


def _deferred(
    served: Sequence[Order], succeeded: Sequence[Outcome], outcomes: Sequence[Outcome]
) -> list[Total]:
    calls = [call for outcome in outcomes for call in outcome.calls.values()]
    states = Counter(call.state for call in calls)
    published = len(calls) - states["PENDING"] - states["SKIPPED"]
    after_failure = sum(
        call.state != "PENDING"
        for outcome in outcomes
        if outcome.parent.state != "SUCCESS"
        for call in outcome.calls.values()
    )
    return [
        Total(
            "deferred runs published",
            published,
            3 * len(succeeded) - states["SKIPPED"],
            f"= 3 x {len(succeeded)} succeeded - {states['SKIPPED']} skipped",
        ),
        Total("deferred runs SUCCESS", states["SUCCESS"], published, "= all of them"),
        Total(
            "linked from their parents",
            sum(len(outcome.linked) for outcome in outcomes),
            published,
            "= all of them",
        ),
        Total(
            "calls skipped",
            states["SKIPPED"],
            sum("@" not in order.email for order in served),
            "= orders without an e-mail address",
        ),
        Total("published by failed orders", after_failure, 0, ""),
    ]


def _effects(
    orders: Sequence[Order],
    served: Sequence[Order],
    outcomes: Sequence[Outcome],
    records: Records,
) -> list[Total]:
    runs = [run for outcome in outcomes for run in (outcome.parent, *outcome.calls.values())]
    executed = [run for run in runs if run.state in ("SUCCESS", "FAILURE")]
    retries = sum(run.attempts - 1 for run in executed)
    return [
        Total(
            "receipts in the mail",
            records.mails,
            sum("@" in order.email for order in served),
            "= orders with an e-mail address",
        ),
        Total(
            "retries", retries, records.refused_mails, "= connections that a mail server refused"
        ),
        Total(
            "attempts, as the worker counts",
            records.worked,
            len(executed) + retries,
            f"= {len(executed)} runs + {retries} retries",
        ),
        Total(
            "product pages still cached",
            len(records.cached & pages(orders)),
            len(pages(orders) - pages(served)),
            "= products that were in failed orders only",
        ),
    ]


def _revenue(served: Iterable[Order], sales: Sequence[Sale]) -> list[Total]:
    """What analytics entered in the ledger, against the CSV: by day, by currency."""
    days = Counter(_day(order) for order in served)
    booked_days = Counter(_day(sale) for sale in sales)
    booked, due = _by_currency(sales), _by_currency(served)
    return [
        Total("sales in the ledger", len(sales), sum(days.values()), "= orders served"),
        Total("days of these, in UTC", dict(booked_days), dict(days), "= days of the orders"),
        *(
            Total(f"revenue {currency}", booked.get(currency), due.get(currency), "")
            for currency in sorted(booked.keys() | due.keys())
        ),
    ]


def _by_currency(sales: Iterable[Order | Sale]) -> Mapping[str, Decimal]:
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    for sale in sales:
        totals[sale.currency] += sale.total
    return totals


def _day(sale: Order | Sale) -> str:
    return sale.placed_at.astimezone(timezone.utc).date().isoformat()


def _asks_too_much(order: Order) -> bool:
    return any(line.quantity > SHELF for line in order.lines)
