"""The demo's pages of text: a tree of a few orders, and the totals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from textwrap import fill

import click

from examples.shop.outcome import Outcome, Seen
from examples.shop.totals import Total

__all__ = ["totals_table", "tree"]

_COLORS = {"SUCCESS": "green", "FAILURE": "red", "SKIPPED": "yellow"}
_REVENUE = "revenue "
_REVENUES_A_LINE = 4


def tree(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield the lines about one order of each kind."""
    for title, is_one in _KINDS.items():
        of_kind = [outcome for outcome in outcomes if is_one(outcome)]
        if of_kind:
            yield click.style(title, bold=True)
            # From the middle: the first order meets a worker that is still cold.
            yield from _order(of_kind[len(of_kind) // 2])
            yield ""
    yield "An order's time is from sending it to its stored result; with a +, from the order's"
    yield "stored SUCCESS to the deferred run's own stored result."


def totals_table(totals: Sequence[Total]) -> Iterator[str]:
    """Yield the lines of all totals; the currencies that are right share lines."""
    compact = [t for t in totals if t.is_right and t.what.startswith(_REVENUE)]
    width = max(len(total.what) for total in totals)
    for total in totals:
        if total not in compact:
            yield _total(total, width)
    if compact:
        yield ""
        yield f"Revenue as the analytics runs saw it = from orders.csv ({len(compact)} currencies)"
        yield from _columns([f"{t.what.removeprefix(_REVENUE)} {t.found:>14,}" for t in compact])


def _order(outcome: Outcome) -> Iterator[str]:
    parent, sent = outcome.parent, outcome.sent
    took = _seconds(parent, since=sent.at)
    # The name stands last: a script that runs from right to left would turn the line round.
    yield _row("process_order", parent, took, f"order {sent.order.id}, {sent.order.customer}")
    yield from _problem(parent, "")
    shown = {name: call for name, call in outcome.calls.items() if call.state != "PENDING"}
    for number, (name, call) in enumerate(shown.items(), start=1):
        is_last = number == len(shown)
        took = _seconds(call, since=parent.done_at, sign="+")
        attempts = f"{call.attempts} attempts" if call.attempts > 1 else ""
        yield _row(f"{'└' if is_last else '├'}─ {name}", call, took, attempts)
        yield from _problem(call, " " if is_last else "│")


def _row(name: str, run: Seen, took: str, note: str) -> str:
    state = click.style(run.state, fg=_COLORS.get(run.state))
    rest = f"{took:>{18 - len(run.state)}}  {note}".rstrip()
    return f"  {name:<14} {state}{rest}"


def _problem(run: Seen, rail: str) -> Iterator[str]:
    if run.problem:
        indent = f"  {rail:<14} "
        yield fill(run.problem, 92, initial_indent=indent, subsequent_indent=indent)


def _seconds(run: Seen, since: datetime | None, sign: str = "") -> str:
    if run.done_at is None or since is None:
        return ""
    seconds = (run.done_at - since).total_seconds()
    return f"{sign}{seconds:.1f} s" if seconds >= 1 else f"{sign}{seconds * 1000:.0f} ms"


def _total(total: Total, width: int) -> str:
    mark = click.style("✓", fg="green") if total.is_right else click.style("✗", fg="red")
    found = _shown(total.found)
    if total.is_right:
        return f"  {mark} {total.what:<{width}} {found:>6}  {total.why}".rstrip()
    return f"  {mark} {total.what:<{width}} {found:>6}  but expected {_shown(total.expected)}"


def _shown(figure: object) -> str:
    return str(len(figure)) if isinstance(figure, dict) else f"{figure}"


def _columns(cells: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(cells), _REVENUES_A_LINE):
        yield "    " + "   ".join(cells[start : start + _REVENUES_A_LINE])


def _is_ordinary(outcome: Outcome) -> bool:
    runs = [outcome.parent, *outcome.calls.values()]
    return all(run.state == "SUCCESS" and run.attempts == 1 for run in runs)


def _has_retry(outcome: Outcome) -> bool:
    return any(call.attempts > 1 for call in outcome.calls.values())


def _has_skipped(outcome: Outcome) -> bool:
    return any(call.state == "SKIPPED" for call in outcome.calls.values())


def _has_failed(outcome: Outcome) -> bool:
    return outcome.parent.state == "FAILURE"


_KINDS: dict[str, Callable[[Outcome], bool]] = {
    "An ordinary order": _is_ordinary,
    "A mail server was down: the receipt is retried, the order stays SUCCESS": _has_retry,
    "A call has a bad payload: it is skipped, the order goes on": _has_skipped,
    "An order failed: nothing that it deferred is published": _has_failed,
}
