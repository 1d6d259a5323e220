"""The options that several commands have, and how their values are read."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from math import inf

import click

from celery_defer import durations

_SHORTEST = 0.1


def name(text: str) -> str:
    """Read an id or a name, which is not empty."""
    if not text.strip():
        raise click.BadParameter("it is empty: give an id or a name")
    if any("\ud800" <= each <= "\udfff" for each in text):
        raise click.BadParameter("it is not UTF-8: give an id or a name as it was printed")
    return text


def length(text: str) -> float:
    """Read a duration such as ``5m``, in seconds."""
    seconds = durations.read(text)
    if seconds is None or seconds < 0:
        raise click.BadParameter(f"{text!r} is no duration: give text such as 90s, 5m, 1h30m or 7d")
    return seconds


def seconds(text: str | float) -> float:
    """Read a number of seconds, of a tenth at least."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not _SHORTEST <= number < inf:
        raise click.BadParameter(
            f"{text!r} is no number of seconds from {_SHORTEST} on: give 2, say"
        )
    return number


def moment(text: str) -> datetime:
    """Read a time: how long ago it was, or ISO 8601; without a time zone it is in UTC."""
    seconds = durations.read(text)
    if seconds is not None:
        return datetime.now(timezone.utc) - timedelta(seconds=seconds)
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise click.BadParameter(f"{text!r} is no time: give 1h, 7d or 2030-01-31T12:00") from None
    return at if at.tzinfo else at.replace(tzinfo=timezone.utc)


def tag(text: str) -> tuple[str, str]:
    """Read a tag, as ``key=value``."""
    key, sign, value = text.partition("=")
    if not (key and sign):
        raise click.BadParameter(f"{text!r} is no tag: give key=value")
    return key, value


def effect(text: str) -> tuple[str, float]:
    """Read the smallest difference of a score that matters, as ``score=number``."""
    score, _, number = text.rpartition("=")
    try:
        return score, float(number)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no effect: give score=number") from None


limit = click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True,
    help="How many at most.",
)  # fmt: skip
limit_runs = click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True,
    help="Of how many runs at most.",
)  # fmt: skip
cursor = click.option("--cursor", help="Where the page before has ended: it prints this.")
yes = click.option("--yes", is_flag=True, help="Do not ask.")
