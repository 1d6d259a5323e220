"""How long a step waits, as a user writes it."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta, timezone

from celery_defer.errors import StepError

__all__ = ["Duration", "moment", "seconds"]

#: Seconds, or a timedelta, or text such as ``"7d"`` or ``"1h30m"``.
Duration = timedelta | float | str

_UNITS = {"w": 604_800.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|[wdhms])")
# Longer than any wait that is meant; a datetime can still be made of it.
_LONGEST = 100 * 366 * 86_400.0


def seconds(step: str, duration: Duration) -> float:
    """Answer *duration* in seconds; raise StepError for what is none.

    >>> seconds("nap", "1h30m")
    5400.0
    """
    found = _seconds(duration)
    if found is None or math.isnan(found) or abs(found) > _LONGEST:
        raise StepError(
            f"step {step!r} cannot wait for {duration!r}: give seconds, a timedelta, or text such "
            "as '90s', '15m', '1h30m', '7d' or '2w'",
            step,
        )
    return found


def moment(step: str, at: datetime) -> float:
    """Answer *at* in seconds since 1970; raise StepError where its time zone is unknown."""
    if isinstance(at, datetime) and at.utcoffset() is not None:
        return at.timestamp()
    raise StepError(
        f"step {step!r} cannot wait until {at!r}: give a datetime with a time zone, such as "
        "datetime.now(timezone.utc) + timedelta(days=7)",
        step,
    )


def shown(at: float) -> str:
    """Answer a time in seconds since 1970 as people and Flower read it."""
    return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds")


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
