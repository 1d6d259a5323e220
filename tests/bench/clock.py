"""When a parent began, left its body, and ended."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from celery.app import trace

from tests.bench.app import tell

__all__ = ["called", "connect", "returned"]

_times: dict[str, float] = {}


def connect() -> None:
    """Time every run of this worker, and tell the bench of each parent.

    From before Celery's tracer, and whatever was put round that before now, to after it: the
    process can then take the next message.
    """
    celery_trace: Any = trace
    build_tracer = celery_trace.build_tracer
    celery_trace.build_tracer = lambda name, task, *args, **kwargs: _timed(
        name, build_tracer(name, task, *args, **kwargs)
    )


def called() -> None:
    """Note that a body begins."""
    _times["called"] = monotonic()


def returned() -> None:
    """Note that a body is about to return."""
    _times["returned"] = monotonic()


def _timed(name: str, run: Callable[..., Any]) -> Callable[..., Any]:
    def tracer(*args: Any, **kwargs: Any) -> Any:
        begin = monotonic()
        answer = run(*args, **kwargs)
        if name.startswith("bench.parent"):
            _tell(begin, monotonic())
        return answer

    return tracer


def _tell(begin: float, end: float) -> None:
    tell(
        who="parent",
        body=_times["returned"] - _times["called"],
        whole=end - begin,
        returned=_times["returned"],
    )
