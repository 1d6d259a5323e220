"""Run ids, and what a defer id may be."""

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

    It depends on these two alone, so a redelivered parent, a link and a reader in another
    process compute the same id.

    >>> run_id("3f0c", "receipt") == run_id("3f0c", "receipt")
    True
    """
    # With the length, ("a", "bc") and ("ab", "c") differ, whatever the two contain.
    return RunId(str(uuid5(_NAMESPACE, f"{len(parent_id)}:{parent_id}:{defer_id}")))


def check(defer_id: object) -> str:
    """Return *defer_id*; raise IdError for what cannot be one."""
    if isinstance(defer_id, str) and defer_id and (defer_id.isascii() or _is_text(defer_id)):
        return defer_id
    raise IdError(f"defer id {safe_repr(defer_id)} is not a non-empty string of Unicode text")


def text(defer_id: object) -> str:
    """Return *defer_id* as a record has it: its repr, where it cannot be one."""
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
