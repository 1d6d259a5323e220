"""Values of a row as people read them: times, durations, payloads, tags."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from itertools import pairwise
from typing import Any

from pydantic_core import to_json

from celery_defer.scoring import Difference
from celery_defer.store import Depth
from celery_defer.text import three_digits
from celery_defer.views.rows import LimitRow, LineRow, RunRow, WaitRow

#: What stands for a value that is not known.
NOTHING = "-"
_ELLIPSIS = "…"
_KEY = 80

# What a run waits for that waits for no event and no other run.
_KINDS = {"sleep": "a time", "retry": "the next try of its step", "restart": "its restart"}

# The two largest units of a duration are shown, from a minute on; the second one is rounded.
_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def duration(seconds: float | None) -> str:
    """Return a duration in its one or two largest units.

    >>> [duration(each) for each in (0.0042, 0.5, 12.34, 65, 7_380, 604_800)]
    ['4 ms', '500 ms', '12.3 s', '1 min 5 s', '2 h 3 min', '7 d']
    """
    if seconds is None:
        return NOTHING
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 1:
        return f"{seconds * 1_000:.0f} ms"
    if seconds < 59.95:  # noqa: PLR2004  # rounded, it is less than a minute
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    return _in_units(round(seconds))


def moment(at: datetime | None) -> str:
    """Return a time in UTC, to the second."""
    if at is None:
        return NOTHING
    return f"{at.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def ago(at: datetime | None, now: datetime) -> str:
    """Return how long before or after *now* a time is: ``5 min 3 s ago``, ``in 6 d 23 h``."""
    if at is None:
        return NOTHING
    seconds = round((now - at).total_seconds())
    if seconds == 0:
        return "now"
    return f"{_in_units(seconds)} ago" if seconds > 0 else f"in {_in_units(-seconds)}"


def payload(value: Any, width: int = 60) -> str:
    """Return JSON values on one line of at most *width* characters."""
    return NOTHING if value is None else text(value, width)


def text(value: Any, width: int | None = None) -> str:
    """Return a text as it is, other JSON values as JSON; "" for None; with *width*, one line."""
    whole = "" if value is None else value if isinstance(value, str) else json(value)
    return whole if width is None else cut(whole, width)


def json(value: Any) -> str:
    """Return JSON values as JSON on one line; what has no JSON as its text."""
    return to_json(value, fallback=str, inf_nan_mode="strings").decode()


def pairs(values: Mapping[str, Any]) -> str:
    """Return tags, or the values that an event must have: ``order=7, user.id=3``."""
    texts = (
        f"{name}={each if isinstance(each, str) else json(each)}" for name, each in values.items()
    )
    return line(", ".join(texts))


def wait(row: WaitRow) -> str:
    """Return what a run waits for: ``event order/paid (order_id=7)``, ``run 5b7c…``, ``a time``."""
    if row.event is not None:
        match = f" ({pairs(row.match)})" if row.match else ""
        return line(f"event {row.event}{match}")
    if row.child is not None:
        return f"run {row.child}"
    if row.kind == "limit":
        return held(row.run.held)
    return _KINDS.get(row.kind, row.kind)


def held(row: LineRow | None) -> str:
    """Return which limit holds a run back: ``its concurrency, key 7, place 3 in line``."""
    if row is None:
        return "its turn"
    what = "its task to be resumed" if row.limit == "pause" else f"its {row.limit}"
    key = f", key {cut(row.key, _KEY)}" if row.key else ""
    return line(f"{what}{key}{f', place {row.place:,} in line' if row.place else ''}")


def by(row: RunRow) -> str:
    """Return what holds a run back, or the run that runs instead of it."""
    if row.held:
        return held(row.held)
    other = row.by or row.batch
    return f"run {other}" if other else NOTHING


def waits(row: WaitRow | None, now: datetime) -> str:
    """Return a wait in short: ``waits for event order/paid, 6 d 23 h left``; "" for no wait."""
    if row is None:
        return ""
    what = f"event {row.event}" if row.event is not None else wait(row)
    return line(f"waits for {what}{_left(row.until, now)}")


def starts(row: RunRow, now: datetime) -> str:
    """Return when a run is to start that has not: ``starts in 14 min``; "" for others."""
    if row.starts_at is None or row.started_at or not row.state.is_open:
        return ""
    return f"starts {ago(row.starts_at, now)}" if row.starts_at > now else "due now"


def limit(of: LimitRow) -> str:
    """Return the numbers of a limit: ``5 at a time``, ``100 in 1 h, 3 at once``."""
    kind, period = of.name.partition(".")[0], duration(of.period)
    match kind:
        case "concurrency":
            return f"{of.limit:,} at a time"
        case "throttle":
            burst = f", {of.burst:,} at once" if of.burst > 1 else ""
            return f"{of.limit:,} in {period}{burst}"
        case "rate_limit":
            return f"{of.limit:,} in {period}"
        case "debounce":
            return f"after {period}"
        case "idempotency":
            return f"1 in {period}"
        case _:
            return "1 at a time"


def number(value: float | None) -> str:
    """Return three digits of a number, and all of them before the point."""
    return NOTHING if value is None else three_digits(value)


def interval(of: Difference) -> str:
    """Return where the true difference lies: ``-0.02 to 0.13``."""
    return NOTHING if of.low is None else f"{number(of.low)} to {number(of.high)}"


def depth(of: Depth) -> str:
    """Return how many records are in the outbox."""
    return f"{of.records} waiting, {of.due} of them due now, {of.quarantined} in quarantine"


def cut(value: str, width: int) -> str:
    """Return a text on one line of at most *width* characters."""
    value = line(value)
    return value if len(value) <= width else value[: width - 1] + _ELLIPSIS


def line(value: str) -> str:
    """Return a text on one line, without characters that a terminal would act on."""
    return "".join(each if each.isprintable() else " " for each in value)


def plural(count: int, noun: str) -> str:
    """Return a number and its noun: ``1 run``, ``2,000 runs``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _left(until: datetime | None, now: datetime) -> str:
    if until is None:
        return ""
    seconds = round((until - now).total_seconds())
    return f", {_in_units(seconds)} left" if seconds > 0 else ", due now"


def _in_units(seconds: int) -> str:
    seconds = _rounded(seconds)
    for (unit, size), (lower, lower_size) in pairwise(_UNITS):
        if seconds >= size:
            count, rest = divmod(seconds, size)
            lower_count = rest // lower_size
            return f"{count} {unit} {lower_count} {lower}" if lower_count else f"{count} {unit}"
    return f"{seconds} s"


def _rounded(seconds: int) -> int:
    """Return a duration as a whole number of its second largest unit."""
    for (_, size), (_, lower_size) in pairwise(_UNITS):
        if seconds >= size:
            return round(seconds / lower_size) * lower_size
    return seconds
