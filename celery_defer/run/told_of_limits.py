"""What the limits of a function do to a run, as its history has it and as people read it."""

from __future__ import annotations

from pydantic_core import to_json

from celery_defer.flow import Drop, Later, Reason
from celery_defer.ids import RunId
from celery_defer.run.about import HIDDEN
from celery_defer.settings import Settings


def told_held(settings: Settings, later: Later, since: float) -> bytes:
    """Return what is told of a run that a limit holds back, *since* a time in seconds.

    It replaces what was told before. Of a run that has told something, as it parked or failed,
    nothing is told of this: the store knows where it stands in line.
    """
    if not settings.record:
        return b""
    wait = {"kind": "limit", "limit": later.gate, "key": key_shown(settings, later.key)}
    return to_json({"w": {**wait, "since": since}})


def told_replaced(by: RunId) -> bytes:
    """Return what is told of a run that is REPLACED: the run in its place."""
    return to_json({"by": by})


def told_dropped(reason: str, by: RunId | None = None) -> bytes:
    """Return what is told of a run that a limit has SKIPPED, and because of which run."""
    return to_json({"reason": reason, "by": by} if by else {"reason": reason})


def told_batched(run: RunId) -> bytes:
    """Return what is told of a call that is BATCHED: the run of its batch."""
    return to_json({"batch": run})


def why_dropped(settings: Settings, drop: Drop, *, is_late: bool = False) -> str:
    """Return why a limit drops a run, as people read it.

    *is_late*: the other run was deferred after it, though its message came first.
    """
    key = key_shown(settings, drop.key)
    with_key = f" with the key {key}" if key else ""
    by = f"run {drop.by}" if drop.by else "another run"
    match drop.reason:
        case Reason.RATE_LIMIT:
            return f"its rate limit: no more runs{with_key} may start in this period"
        case Reason.SINGLETON:
            later = " was deferred later, and" if is_late else ""
            return f"its singleton: {by}{with_key}{later} has not ended"
        case Reason.IDEMPOTENCY:
            return f"its idempotency: {by} came first{with_key}"
        case Reason.REPLACED:
            return f"its debounce: {by}{with_key} was deferred later, and runs in its place"


def key_shown(settings: Settings, key: str) -> str:
    """Return the key of a limit, which is part of a payload: hidden if payloads are, or masked."""
    return key if settings.record_payloads is True or not key else HIDDEN
