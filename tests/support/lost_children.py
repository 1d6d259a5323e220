"""The children that a pool has lost, which a test does not want to wait for."""

from __future__ import annotations

from typing import Any

import billiard.pool
from celery.concurrency.asynpool import AsynPool

__all__ = ["see_at_once"]


def see_at_once() -> None:
    """Let the pool of this worker see at once that a child was killed.

    billiard waits ten seconds before it takes a child for lost, and looks every five.
    """
    billiard.pool.LOST_WORKER_TIMEOUT = 0.2
    pool: Any = AsynPool
    pool.timers = property(lambda pool: {pool.maintain_pool: 0.1})
