"""A copy of a run's arguments, because its body may change them before it parks."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

from celery_defer import guard

Arguments = tuple[Sequence[Any], Mapping[str, Any]]

# Types whose values a body cannot change.
_FIXED = frozenset({str, int, float, bool, bytes, type(None)})
# The tasks that have run in this process, and those whose runs have taken steps here.
_seen: set[str] = set()
_with_steps: set[str] = set()


def copied(task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes | None:
    """Return the arguments pickled; None if a copy is not needed.

    Copying is a good part of a small task's cost, so there is no copy for a task that has run here
    without steps. The first of its runs that parks keeps its arguments as they are then, as
    Celery's ``retry`` does.
    """
    if _FIXED.issuperset(map(type, args)) and _FIXED.issuperset(map(type, kwargs.values())):
        return None
    if task in _seen and task not in _with_steps:
        return None
    _seen.add(task)
    # Arguments from a message can be pickled; those of a task traced by hand perhaps not.
    return guard.attempt(lambda: pickle.dumps((args, kwargs), pickle.HIGHEST_PROTOCOL))


def restored(copy: bytes) -> Arguments:
    """Return the arguments from such a copy."""
    return pickle.loads(copy)  # type: ignore[no-any-return]  # noqa: S301  # it never left the process


def takes_steps(task: str) -> None:
    """Remember that runs of *task* take steps."""
    _with_steps.add(task)
