"""What a worker does for the package: it checks the settings, and runs the relay."""

from __future__ import annotations

import logging
import threading
from time import time
from typing import Any

from celery import bootsteps

from celery_defer.relay import Relay
from celery_defer.store import Store

__all__ = ["RelayStep"]

logger = logging.getLogger(__name__)


class RelayStep(bootsteps.StartStopStep):
    """Starts once the pool has forked, in the worker's main process; stops before the pool."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        # Read here, so that a wrong one stops the worker at its start.
        extension = worker.app._celery_defer
        self._relay = _Thread(extension)

    def start(self, parent: Any) -> None:  # noqa: ARG002
        self._relay.start()

    def stop(self, parent: Any) -> None:  # noqa: ARG002
        self._relay.stop()

    terminate = stop


class _Thread:
    """Ticks beside the worker, also while a solo worker is inside a task.

    A thread; a greenlet where the pool has patched threads.
    """

    def __init__(self, extension: Any) -> None:
        store, settings = extension.store, extension.settings
        self._relay = Relay(extension.app, store, settings) if store else None
        self._interval = settings.relay_interval
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="celery-defer-relay", daemon=True)

    def start(self) -> None:
        if self._relay:
            _warn_of_risks(self._relay.store)
            self._thread.start()
        else:
            logger.warning(
                "celery_defer finds no Redis in the app's settings: a worker that is killed "
                "between a task's success and the publication of what it deferred loses those "
                "calls; set defer_store_url = 'redis://…' to keep them"
            )

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not self._tick():
                self._stopping.wait(self._interval)

    def _tick(self) -> int:
        try:
            return self._relay.tick(time()) if self._relay else 0
        except Exception:  # the store or the backend is away; nothing is lost by that
            logger.exception("the relay could not look into the outbox; it tries again")
            return 0


def _warn_of_risks(store: Store) -> None:
    try:
        for risk in store.risks():
            logger.warning("%s", risk)
    except Exception:
        logger.exception("the store does not answer; the relay will try it again")
