"""A payload of a function with a batch, and parents that defer it."""

from __future__ import annotations

from typing import Any

from celery import Celery
from pydantic import BaseModel

from celery_defer import defer
from celery_defer.contract import deferrable
from celery_defer.ids import RunId
from celery_defer.model import Call, Options, Outcome
from celery_defer.outbox import DeferredCalls
from tests.support.inside import Worker, parent_of


class Visit(BaseModel):
    page: str
    site: str = "a"


Ran = list[list[str]]


def visits_of(app: Celery, worker: Worker, write: Any, *pages: str, **fields: Any) -> Any:
    """Run a parent that defers one call for each page; return its result."""

    def body() -> None:
        for page in pages:
            defer(page, write, page=page, **fields)

    return worker.run(parent_of(app, body))


def record_of(worker: Worker, write: Any, *pages: str) -> DeferredCalls:
    """Return what a parent has deferred that has succeeded."""
    contract, id = deferrable(write).contract, RunId("parent")
    calls = [
        Call(page, "write", contract.pack((), {"page": page}), worker.now, Options())
        for page in pages
    ]
    return DeferredCalls(id, id, "parent", 0, Outcome.SUCCESS, worker.now, {}, tuple(calls))


def refuse(*_: Any, **__: Any) -> None:
    raise ValueError("no route")
