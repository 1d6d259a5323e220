"""Times of the store as people's times."""

from __future__ import annotations

from datetime import datetime, timezone


def moment(seconds: float | None) -> datetime | None:
    """Return a time of a history as a datetime; None for 0, which is no time."""
    return datetime.fromtimestamp(seconds, timezone.utc) if seconds else None
