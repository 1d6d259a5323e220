"""Waiting for what a bench cannot hurry."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep

from tests.bench.worker import BrokenWorkerError

__all__ = ["wait_until"]


def wait_until(is_so: Callable[[], bool], what: str, patience: float = 60) -> None:
    """Look again and again, until it is so."""
    deadline = monotonic() + patience
    while not is_so():
        if monotonic() > deadline:
            raise BrokenWorkerError(f"{what}: not within {patience:.0f} s")
        sleep(0.001)
