"""Durations and moments, as users write them."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta, timezone

from celery_defer.errors import StepError

#: Seconds, or a timedelta, or text such as ``"7d"`` or ``"1h30m"``.
Duration = timedelta | float | str
#: The forms that an error lists.
FORMS = "seconds, a timedelta, or text such as '90s', '15m', '1h30m', '7d' or '2w'"

_UNITS = {"w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|[wdhms])")
# Longer than any real wait, and still within the range of a datetime.
_LONGEST = 100 * 366 * 86_400.0


def seconds(step: str, duration: Duration) -> float:
    """Return *duration* in seconds; raise StepError if it is not a duration.

    >>> seconds("nap", "1h30m")
    5400.0
    """
    length = read(duration)
    if length is None:
        raise StepError(f"step {step!r} cannot wait for {duration!r}: give {FORMS}", step)
    return length


def read(duration: object) -> float | None:
    """Return *duration* in seconds; None if it is not a duration."""
    length = _seconds(duration)
    if length is None or math.isnan(length) or abs(length) > _LONGEST:
        return None
    return length


def moment(step: str, at: datetime, now: float) -> float:
    """Return *at* in seconds since 1970.

    Raises StepError if it has no time zone, or is too long after *now*.
    """
    if not is_moment(at):
        raise StepError(
            f"step {step!r} cannot wait until {at!r}: give a datetime with a time zone, such as "
            "datetime.now(timezone.utc) + timedelta(days=7)",
            step,
        )
    if at.timestamp() - now > _LONGEST:
        raise StepError(
            f"step {step!r} cannot wait until {at!r}: give a moment of the next 100 years", step
        )
    return at.timestamp()


def is_moment(at: object) -> bool:
    """Whether *at* is a datetime with a time zone."""
    return isinstance(at, datetime) and at.utcoffset() is not None


def shown(at: float) -> str:
    """Return a time in seconds since 1970 as people and Flower read it."""
    return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds")


def words(seconds: float) -> str:
    """Return a duration as people write it.

    >>> words(5400)
    '1h30m'
    """
    parts, left = [], round(seconds, 3)
    for unit, size in _UNITS.items():
        count = math.floor(left / size + 1e-6)
        left = round(left - count * size, 3)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"


def _seconds(duration: object) -> float | None:
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, bool):
        return None
    if isinstance(duration, int | float):
        return float(duration) if abs(duration) <= _LONGEST else math.inf
    return _of_text(duration) if isinstance(duration, str) else None


def _of_text(text: str) -> float | None:
    parts = _PART.findall(text)
    if not parts or _PART.sub("", text).strip():
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
