"""A function that takes a visit, and one that takes a batch of them: each counts them in Redis."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel

from celery_defer import Batch, deferred

__all__ = ["SIZE", "declare"]

#: How many calls a batch has.
SIZE = 100


class Visit(BaseModel):
    page: str
    user_id: int
    took: float


def declare(app: Any, count: Callable[[int], object] = lambda _: None) -> SimpleNamespace:
    """Declare the functions of *app*; *count* writes how many visits have come."""

    @deferred(app, name="bench.each", shared=False, schema=Visit)
    def each(visit: Visit) -> None:
        count(1)

    @deferred(app, name="bench.many", shared=False, schema=Visit, batch=Batch(SIZE, "10s"))
    def many(visits: list[Visit]) -> None:
        count(len(visits))

    return SimpleNamespace(each=each, many=many)
