"""What tests of ``deferring()`` share: blocks that raise, threads, a database transaction."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

from celery_defer import defer, deferring

__all__ = ["Published", "Transaction", "failing", "helper", "in_thread"]

#: Takes what was published, and returns the defer ids.
Published = Callable[[], list[str]]


def helper(ship: Any, id: str) -> str:
    """What views and tasks call: it defers, and need not know from where."""
    with deferring() as parent:
        defer(id, ship, n=1)
    return parent.id


def failing(*calls: Callable[[], object], error: BaseException | None = None) -> None:
    """Make calls in a block that raises."""
    with deferring():
        for call in calls:
            call()
        raise error or ValueError("the user's")


def in_thread(function: Callable[[], object], context: contextvars.Context | None = None) -> None:
    run = (contextvars.copy_context() if context is None else context).run
    thread = threading.Thread(target=run, args=(function,))
    thread.start()
    thread.join()


class Transaction:
    """A database transaction: a list of what to call when it commits."""

    def __init__(self) -> None:
        self.hooks: list[Callable[[], None]] = []

    def on_commit(self, hook: Callable[[], None]) -> None:
        self.hooks.append(hook)

    def commit(self) -> None:
        for hook in self.hooks:
            hook()
