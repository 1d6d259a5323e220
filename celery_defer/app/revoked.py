"""Parked runs that Celery has been told to revoke: it remembers that for messages alone."""

from __future__ import annotations

import logging
from typing import Any

from celery.worker import state

from celery_defer.ids import RunId
from celery_defer.outbox import cancel_run
from celery_defer.store import Store

logger = logging.getLogger(__name__)


class Revoked:
    """What this worker has been told to revoke, by celery.worker.control.revoke."""

    def __init__(self, app: Any, store: Store, keep: float) -> None:
        self._app = app
        self._store = store
        self._keep = keep
        self._seen: set[str] = set()

    def look(self) -> None:
        """End the parked runs among those that were revoked since the last look."""
        if not self._has_news():
            return
        revoked = set(state.revoked)
        news = revoked - self._seen
        # Those that are at work here may park yet.
        at_work = {id for id in news if id in state.requests}
        for id in news:
            self._end(RunId(id))
        self._seen = revoked - at_work

    def _has_news(self) -> bool:
        # One may have been forgotten for each that came.
        is_longer = len(state.revoked) != len(self._seen)
        return is_longer or any(id not in state.revoked for id in self._seen)

    def _end(self, id: RunId) -> None:
        if cancel_run(self._app, self._store, id, only_parked=True):
            logger.info("run %s was revoked while it was parked", id)
