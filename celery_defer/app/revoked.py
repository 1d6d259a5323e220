"""Parked runs that were revoked; Celery itself revokes only runs that have a message."""

from __future__ import annotations

from typing import Any

from celery.worker import state

from celery_defer import guard, subject
from celery_defer.ids import RunId
from celery_defer.outbox import cancel_run
from celery_defer.store import Store

logger = guard.logger(__name__)


class Revoked:
    """The ids that celery.worker.control.revoke has put into this worker's state."""

    def __init__(self, app: Any, store: Store, keep: float) -> None:
        self._app = app
        self._store = store
        self._keep = keep
        self._seen: set[str] = set()

    def look(self) -> None:
        """End the parked runs among those revoked since the last look."""
        if not self._is_changed():
            return
        revoked = set(state.revoked)
        new = revoked - self._seen
        # Runs in progress here may still park.
        in_progress = {id for id in new if id in state.requests}
        for id in new:
            self._end(RunId(id))
        self._seen = revoked - in_progress

    def _is_changed(self) -> bool:
        # Celery drops the oldest ids, so the number alone does not say it.
        is_longer = len(state.revoked) != len(self._seen)
        return is_longer or any(id not in state.revoked for id in self._seen)

    def _end(self, id: RunId) -> None:
        if cancel_run(self._app, self._store, id, only_parked=True, is_revoked=True):
            logger.info("run %s was revoked while it was parked", id, extra=subject.of(id))
