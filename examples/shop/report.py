"""The demo's report: a tree for one order of each kind, and a table of the totals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from examples.shop.check import Outcome, Run, Total

__all__ = ["order_trees", "totals_table"]

_COLORS = {"SUCCESS": "green", "FAILURE": "red", "SKIPPED": "yellow"}
_REVENUE = "revenue "


def order_trees(outcomes: Sequence[Outcome]) -> Iterator[RenderableType]:
    """Yield one order of each kind, with its deferred runs."""
    kinds = {
        "An ordinary order": _is_ordinary,
        "A mail server was down: the receipt is retried, the order stays SUCCESS": _has_retry,
        "A call has a bad payload: it is skipped, the order goes on": _has_skipped,
        "An order failed: nothing that it deferred is published": _has_failed,
    }
    for title, is_one in kinds.items():
        if of_kind := [outcome for outcome in outcomes if is_one(outcome)]:
            yield Text(f"\n{title}", style="bold")
            # From the middle: the first order meets a worker that is still cold.
            yield _order_tree(of_kind[len(of_kind) // 2])
    yield Text(
        "\nAn order's time runs from sending it to its stored result; a time with a +,"
        "\nfrom the order's stored SUCCESS to the deferred run's own stored result."
    )


def totals_table(totals: Sequence[Total]) -> Iterator[RenderableType]:
    """Yield all totals; the currencies whose revenue is right share lines."""
    revenues = [total for total in totals if total.is_right and total.what.startswith(_REVENUE)]
    yield Text("\nTotals", style="bold")
    table = Table("", "", "", "", box=None, show_header=False)
    table.columns[2].justify = "right"
    for total in totals:
        if total not in revenues:
            table.add_row(*_total_row(total))
    yield table
    if revenues:
        yield Text(
            f"\nRevenue as the analytics runs saw it = from orders.csv ({len(revenues)} currencies)"
        )
        figures = [f"{total.what.removeprefix(_REVENUE)} {total.found:>14,}" for total in revenues]
        yield Columns(figures, padding=(0, 2))


def _order_tree(outcome: Outcome) -> Tree:
    sent, parent = outcome.sent, outcome.parent
    # The name stands last: a script that runs from right to left would turn the line round.
    note = f"order {sent.order.id}, {sent.order.customer}"
    tree = Tree(_line(f"{'process_order':<18}", parent, _time(parent, since=sent.at), note))
    for name, call in outcome.calls.items():
        if call.state != "PENDING":
            attempts = f"{call.attempts} attempts" if call.attempts > 1 else ""
            took = _time(call, since=parent.done_at, sign="+")
            tree.add(_line(f"{name:<14}", call, took, attempts))
    return tree


def _line(name: str, run: Run, took: str, note: str) -> RenderableType:
    rest = f"{took:>{18 - len(run.state)}}  {note}".rstrip()
    line = Text.assemble(name, (run.state, _COLORS.get(run.state, "")), rest)
    problem = Padding(Text(run.problem), (0, 0, 0, len(name)))
    return Group(line, problem) if run.problem else line


def _time(run: Run, since: datetime | None, sign: str = "") -> str:
    if run.done_at is None or since is None:
        return ""
    seconds = (run.done_at - since).total_seconds()
    return f"{sign}{seconds:.1f} s" if seconds >= 1 else f"{sign}{seconds * 1000:.0f} ms"


def _total_row(total: Total) -> tuple[Text, str, str, str]:
    found = _figure(total.found)
    if total.is_right:
        return Text("✓", "green"), total.what, found, total.why
    return Text("✗", "red"), total.what, found, f"but expected {_figure(total.expected)}"


def _figure(value: object) -> str:
    return str(len(value)) if isinstance(value, dict) else f"{value}"


def _is_ordinary(outcome: Outcome) -> bool:
    runs = [outcome.parent, *outcome.calls.values()]
    return all(run.state == "SUCCESS" and run.attempts == 1 for run in runs)


def _has_retry(outcome: Outcome) -> bool:
    return any(call.attempts > 1 for call in outcome.calls.values())


def _has_skipped(outcome: Outcome) -> bool:
    return any(call.state == "SKIPPED" for call in outcome.calls.values())


def _has_failed(outcome: Outcome) -> bool:
    return outcome.parent.state == "FAILURE"
