"""The shop's worker."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from examples import worker
from examples.shop.app import app
from examples.worker import Worker, WorkerError

__all__ = ["Worker", "WorkerError", "count_attempts", "shop_worker", "wait_until_ready"]

NAME = "shop@demo"


def shop_worker(redis_url: str) -> AbstractContextManager[Worker]:
    """Start a worker of the shop on *redis_url*, and stop it after, whatever happens."""
    return worker.started_worker("examples.shop.app", NAME, SHOP_REDIS_URL=redis_url)


def wait_until_ready(its: Worker) -> None:
    """Return when the worker answers; raise WorkerError if it does not."""
    worker.wait_until_ready(app, its)


def count_attempts() -> int:
    """Answer how many attempts the worker has counted, over all its tasks."""
    answers: Any = app.control.inspect([NAME], timeout=5).stats() or {}
    return sum(sum(answer["total"].values()) for answer in answers.values())
