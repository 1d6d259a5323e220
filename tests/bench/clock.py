"""When a parent began, left its body, and ended."""

from __future__ import annotations

from time import monotonic
from typing import Any

from celery.signals import task_postrun, task_prerun

from tests.bench.app import tell

__all__ = ["called", "connect", "returned"]

_times: dict[str, float] = {}


def connect() -> None:
    """Watch every run of this worker, and tell the bench of each parent."""
    task_prerun.connect(_begin)
    task_postrun.connect(_end)


def called() -> None:
    """Note that a body begins."""
    _times["called"] = monotonic()


def returned() -> None:
    """Note that a body is about to return."""
    _times["returned"] = monotonic()


def _begin(**_: Any) -> None:
    _times["begin"] = monotonic()


def _end(sender: Any, **_: Any) -> None:
    end = monotonic()
    if sender.name.startswith("bench.parent"):
        tell(
            who="parent",
            body=_times["returned"] - _times["called"],
            whole=end - _times["begin"],
            returned=_times["returned"],
        )
