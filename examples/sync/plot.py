"""A picture of the calls of the partner: when each began, against the limits."""

from __future__ import annotations

from collections.abc import Sequence

from examples.sync.app import AT_A_TIME, IN_A_SECOND, Call

__all__ = ["draw"]

_COLOURS = ("#1f4e79", "#9c2f2f", "#5a7d2a")
_LIMIT = "#888888"


def draw(calls: Sequence[Call], path: str) -> None:
    """Write a picture to *path*, in the format that its suffix names; matplotlib draws it."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    first = min(call["began"] for call in calls)
    names = list(dict.fromkeys(call["customer"] for call in calls))
    figure = Figure(figsize=(9, 6), layout="constrained")
    starts, lanes = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])

    begun = sorted(call["began"] - first for call in calls)
    limit, period = IN_A_SECOND.limit, IN_A_SECOND.period
    starts.step(begun, range(1, len(begun) + 1), where="post", color=_COLOURS[0], label="started")
    allowed = [1 + second * limit / period for second in (0.0, begun[-1])]
    starts.plot([0, begun[-1]], allowed, "--", color=_LIMIT, label=f"{limit} a second")
    starts.set_ylim(0, len(begun) + 1)
    starts.set_ylabel("calls of the partner")
    starts.legend()

    for row, (name, colour) in enumerate(zip(names, _COLOURS, strict=True)):
        for began, ended, place in _placed([call for call in calls if call["customer"] == name]):
            height = 0.8 / AT_A_TIME.limit
            lanes.barh(
                row + place * height, ended - began, height * 0.9, began - first,
                align="edge", color=colour, edgecolor="white",
            )  # fmt: skip
    lanes.set_yticks([row + 0.4 for row in range(len(names))], names)
    lanes.invert_yaxis()
    lanes.set_xlabel(f"seconds; a bar is a call, at most {AT_A_TIME.limit} of a customer at a time")
    figure.savefig(path)


def _placed(calls: Sequence[Call]) -> list[tuple[float, float, int]]:
    """Return when each call began and ended, and the lowest place that was free then."""
    ends: list[float] = []
    placed = []
    for call in sorted(calls, key=lambda call: call["began"]):
        free = [place for place, end in enumerate(ends) if end <= call["began"]]
        place = free[0] if free else len(ends)
        ends[place : place + 1] = [call["ended"]]
        placed.append((call["began"], call["ended"], place))
    return placed
