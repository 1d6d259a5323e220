"""What a worker does for the package when it starts."""

from __future__ import annotations

import logging
from typing import Any

from celery import bootsteps

__all__ = ["CheckStep"]

logger = logging.getLogger(__name__)


class CheckStep(bootsteps.Step):
    """Reads the settings, so that a wrong one stops the worker at its start."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        worker.app._celery_defer.settings  # noqa: B018

    def create(self, parent: Any) -> None:  # noqa: ARG002
        logger.warning(
            "celery_defer keeps deferred calls in memory only: a worker that is killed between "
            "a task's success and the publication of what it deferred loses those calls"
        )
