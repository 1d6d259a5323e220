"""A pool that replaces Celery's tracer, as those for coroutines do, and awaits coroutines."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from celery.app import trace
from celery.concurrency.solo import TaskPool

__all__ = ["AwaitingPool", "build_awaiting_tracer"]

# What Celery itself has, below what others have put around it.
_celerys = inspect.unwrap(trace.build_tracer)


class AwaitingPool(TaskPool):  # type: ignore[misc]
    """One task at a time, in the worker's own process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        trace.build_tracer = build_awaiting_tracer
        trace.reset_worker_optimizations()  # so that the tracer calls `run`, not `__call__`
        super().__init__(*args, **kwargs)


def build_awaiting_tracer(name: str, task: Any, *args: Any, **kwargs: Any) -> Any:
    """Build Celery's tracer of a task whose coroutines are awaited."""
    if not hasattr(task.run, "is_awaiting"):
        task.run = _awaiting(task.run)
    return _celerys(name, task, *args, **kwargs)


def _awaiting(call: Callable[..., Any]) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        return asyncio.run(result) if inspect.iscoroutine(result) else result

    run.is_awaiting = True  # type: ignore[attr-defined]
    return run
