"""Run ids and defer ids."""

from __future__ import annotations

from functools import lru_cache
from typing import NewType
from uuid import UUID, uuid5

from celery_defer.errors import IdError
from celery_defer.text import safe_repr

RunId = NewType("RunId", str)

_NAMESPACE = UUID("6f2f6c1e-6c0b-5d0e-9a51-0d2c1c9b7f3a")


# Each id is needed twice: when the run is linked, and when it is published.
@lru_cache(maxsize=4096)
def run_id(parent_id: str, defer_id: str) -> RunId:
    """Return the Celery task id of the run that *parent_id* defers under *defer_id*.

    It depends only on these two, so a redelivered parent, a link and other processes compute the
    same id.

    Raises IdError if one of them is empty.

    >>> run_id("3f0c", "receipt") == run_id("3f0c", "receipt")
    True
    """
    if not (parent_id and defer_id):
        raise IdError(f"run_id({parent_id!r}, {defer_id!r}): give two ids that are not empty")
    # With the length, ("a", "bc") and ("ab", "c") differ, whatever the two contain.
    return RunId(str(uuid5(_NAMESPACE, f"{len(parent_id)}:{parent_id}:{defer_id}")))


def check(defer_id: object) -> str:
    """Return *defer_id*; raise IdError if it is not a non-empty string of Unicode text."""
    if isinstance(defer_id, str) and defer_id and (defer_id.isascii() or _is_text(defer_id)):
        return defer_id
    raise IdError(f"defer id {safe_repr(defer_id)} is not a non-empty string of Unicode text")


def text(defer_id: object) -> str:
    """Return *defer_id*, or its repr if it cannot be a defer id."""
    try:
        return check(defer_id)
    except IdError:
        return safe_repr(defer_id)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate: no broker could carry it
        return False
    return True
