"""The parent's children, as Celery stores them with its result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from celery_defer.ids import run_id
from celery_defer.model import Call
from celery_defer.run import Scope

#: A result carries its children wherever it goes, 56 bytes each; the rest are linked
#: by the `parent_id` of their own results alone.
MAX_LINKS = 1_000


def link(parent: Scope, calls: Iterable[Call]) -> None:
    """List the runs of *calls* as the parent's children; Celery stores them with its result."""
    if not parent.task.trail:
        return
    children, result = parent.task.request.children, parent.app.AsyncResult
    present = {child.id for child in children}
    ids = [run_id(parent.run.id, call.id) for call in calls]
    children.extend(result(id) for id in ids[:MAX_LINKS] if id not in present)


@contextmanager
def linked(parent: Scope, calls: Iterable[Call]) -> Iterator[None]:
    """List the runs of *calls* as children for a result that is stored in the block.

    They are taken back if it cannot be stored: the parent fails then, after its body.
    """
    children = parent.task.request.children
    before = list(children)
    link(parent, calls)
    try:
        yield
    except BaseException:
        children[:] = before
        raise
