"""The arguments of a run as they came: its body may change them before it parks."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

from celery_defer import guard

Arguments = tuple[Sequence[Any], Mapping[str, Any]]

# What a body that is given it cannot change.
_FIXED = frozenset({str, int, float, bool, bytes, type(None)})
# The tasks of which this process has begun a run; and those whose runs have taken steps here.
_seen: set[str] = set()
_with_steps: set[str] = set()


def copied(task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes | None:
    """Return the arguments pickled; None where nothing would be gained by it.

    Nothing is copied for a task that was seen here and has taken no step, for that takes a good
    part of what such a task costs; the first of its runs that does park does so with its arguments
    as they are then, as Celery's own ``retry`` would.
    """
    if _FIXED.issuperset(map(type, args)) and _FIXED.issuperset(map(type, kwargs.values())):
        return None
    if task in _seen and task not in _with_steps:
        return None
    _seen.add(task)
    # What came in a message can be pickled; but a task may be traced by hand.
    return guard.attempt(lambda: pickle.dumps((args, kwargs), pickle.HIGHEST_PROTOCOL))


def restored(copy: bytes) -> Arguments:
    """Return what ``copied`` has kept."""
    return pickle.loads(copy)  # type: ignore[no-any-return]  # noqa: S301  # never left the process


def takes_steps(task: str) -> None:
    """Remember that runs of *task* take steps."""
    _with_steps.add(task)
