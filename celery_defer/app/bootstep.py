"""What each worker does for the package: check the settings, and run the relay."""

from __future__ import annotations

import threading
from typing import Any

import click
from celery import bootsteps

from celery_defer import guard
from celery_defer.app.revoked import Revoked
from celery_defer.broker import MainConnections
from celery_defer.current import extension_of
from celery_defer.errors import SettingsError
from celery_defer.outbox import Relay
from celery_defer.run import listeners
from celery_defer.store import Store

logger = guard.logger(__name__)

# How long a worker that stops may wait for its relay.
_LONGEST_REST = 1.0


class RelayStep(bootsteps.StartStopStep):
    """Starts after the pool has forked, in the worker's main process; stops before the pool."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        # Read here, so that a bad setting stops the worker at its start.
        extension = extension_of(worker.app)
        self._connections = MainConnections.of(worker.app)
        store = _store_of(extension)
        self._relay = _Thread(extension, store, worker) if store else None

    def start(self, parent: Any) -> None:  # noqa: ARG002
        if self._relay is None:
            _warn_of_no_store()
            return
        self._connections.take_over()
        self._relay.start()

    def stop(self, parent: Any) -> None:  # noqa: ARG002
        if self._relay:
            self._relay.stop()

    terminate = stop


class _Thread:
    """The relay's thread; it also runs while a solo worker runs a task.

    A greenlet, if the pool has patched threads.
    """

    def __init__(self, extension: Any, store: Store, worker: Any) -> None:
        self._clock = extension.clock
        self._interval = extension.settings.relay_interval
        self._worker = worker
        self._relay = Relay(extension.app, store, extension.settings)
        self._revoked = Revoked(extension.app, store, extension.settings.run_keeps)
        self._alarm = store.alarm()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="celery-defer-relay", daemon=True)

    def start(self) -> None:
        _warn_of_risks(self._relay.store)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if not self._tick():
                self._rest()

    def _tick(self) -> int:
        try:
            _note_listeners(self._worker)
            self._revoked.look()
            return self._relay.tick(self._clock())
        except Exception:  # the store or the backend is away; nothing is lost
            logger.exception("the relay could not look into the outbox; it tries again")
            return 0

    def _rest(self) -> None:
        """Wait until the next look, or until a record is due; parking a run sets off the alarm."""
        until = self._clock() + self._interval
        try:
            until = min(until, self._relay.next_due() or until)
        except Exception:  # the next look logs the reason
            logger.debug("the outbox does not say what is due next", exc_info=True)
        while not self._stopping.is_set() and (left := until - self._clock()) > 0:
            due = self._alarm.wait(min(left, _LONGEST_REST))
            until = until if due is None else min(until, due)


def _store_of(extension: Any) -> Store | None:
    try:
        store: Store | None = extension.store
    except SettingsError as error:
        if click.get_current_context(silent=True) is None:
            raise
        # `celery worker` prints this without a traceback, and exits with status 1.
        raise click.ClickException(str(error)) from None
    return store


def _note_listeners(worker: Any) -> None:
    """Note whether the worker sends task events, which ``celery control`` turns on and off."""
    events = getattr(getattr(worker, "consumer", None), "event_dispatcher", None)
    if events is None:  # it connects: celery.worker.consumer.events.Events makes one then
        return
    # Without -E it sends heartbeats only.
    listeners.note(bool(events.enabled and (not events.groups or "task" in events.groups)))


def _warn_of_no_store() -> None:
    logger.warning(
        "celery_defer finds no Redis in the app's settings: a worker that is killed "
        "between a task's success and the publication of what it deferred loses those "
        "calls; set defer_store_url = 'redis://…' to keep them"
    )


def _warn_of_risks(store: Store) -> None:
    try:
        for risk in store.risks():
            logger.warning("%s", risk)
    except Exception:
        logger.exception("the store does not reply; the relay will try it again")
