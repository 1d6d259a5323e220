"""The orders of orders.csv, which has a row for each line of an order."""

from __future__ import annotations

import csv
from itertools import groupby
from pathlib import Path

from examples.shop.app import Line, Order

__all__ = ["read_orders"]

FILE = Path(__file__).with_name("orders.csv")


def read_orders(file: Path = FILE) -> list[Order]:
    """Return the orders of *file*, in its order."""
    with file.open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    return [_order(list(lines)) for _, lines in groupby(rows, lambda row: row["order_id"])]


def _order(rows: list[dict[str, str]]) -> Order:
    head = {name: rows[0][name] for name in ("placed_at", "customer", "email", "currency")}
    lines = [Line.model_validate(row) for row in rows]
    return Order.model_validate({"id": rows[0]["order_id"], "lines": lines, **head})
