"""The transition table of a call's states, drawn as text: a lane each state, an arrow each step."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import TopologicalSorter

from celery_defer.model import CallState

__all__ = ["chart"]

_GAP = 2
Table = Mapping[CallState, frozenset[CallState]]


def chart(table: Table) -> str:
    """Return the chart of *table*; states stand in an order in which no arrow points left."""
    lanes = _ordered(table)
    at: dict[CallState, int] = {}
    for state in lanes:
        at[state] = _GAP + sum(len(other.value) + _GAP for other in at)
    names = "".join(" " * _GAP + state.value for state in lanes)
    arrows = [
        _arrow([position + 1 for position in at.values()], at[start] + 1, at[end] + 1)
        for start in lanes
        for end in lanes
        if end in table[start]
    ]
    return "\n".join([names, *arrows]) + "\n"


def _ordered(table: Table) -> list[CallState]:
    before = {state: {one for one in table if state in table[one]} for state in table}
    rank: dict[CallState, int] = {}
    for state in TopologicalSorter(before).static_order():
        rank[state] = max((rank[one] + 1 for one in before[state]), default=0)
    # A state that nothing leads to, and that leads nowhere, stands apart.
    alone = {state for state in table if not table[state] and not before[state]}
    return sorted(table, key=lambda state: (state in alone, rank[state], list(table).index(state)))


def _arrow(lanes: list[int], start: int, end: int) -> str:
    row = [" "] * (max(lanes) + 1)
    for lane in lanes:
        row[lane] = "│"
    for column in range(start + 1, end):
        row[column] = "┼" if column in lanes else "─"
    row[start], row[end] = "├", "▶"
    return "".join(row)
