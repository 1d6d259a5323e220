"""How a step asks the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from celery.exceptions import SoftTimeLimitExceeded

from celery_defer.errors import StoreAwayError, StoreError
from celery_defer.run.scope import Scope
from celery_defer.store import Store
from celery_defer.text import text_of

__all__ = ["ask", "store_of"]

T = TypeVar("T")


def ask(run: Scope, step: str, question: Callable[[], T]) -> T:
    """Answer what the store answers; raise StoreAwayError where it does not."""
    try:
        return question()
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        run.lost_store = StoreAwayError(
            f"step {step!r} of run {run.run.id} finds no store: {text_of(error)}"
        )
        raise run.lost_store from error


def store_of(run: Scope) -> Store:
    """Answer the store of the run; raise StoreError where it has none."""
    if run.store is None or run.is_eager:
        raise StoreError
    return run.store
