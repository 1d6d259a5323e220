"""What each worker does for the package: check the settings, and run the relay."""

from __future__ import annotations

import threading
from typing import Any

import click
from celery import bootsteps

from celery_defer import guard
from celery_defer.app import lost, tracer
from celery_defer.app.limits import keep_limits
from celery_defer.app.revoked import Revoked
from celery_defer.broker import MainConnections
from celery_defer.current import extension_of
from celery_defer.errors import SettingsError
from celery_defer.outbox import Outage, Relay
from celery_defer.run import listeners, signals
from celery_defer.store import AWAY, Store
from celery_defer.text import text_of

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

    def create(self, parent: Any) -> None:  # noqa: ARG002
        """Hook into Celery again, now that there is a pool: some replace what is hooked."""
        tracer.install(extension_of)
        lost.install()

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
        self._extension = extension
        self._clock = extension.clock
        self._interval = extension.settings.relay_interval
        self._worker = worker
        self._relay = Relay(extension.app, store, extension.settings)
        self._revoked = Revoked(extension.app, store, extension.settings.run_keeps)
        self._alarm = store.alarm()
        self._away = Outage()
        self._has_warned = False
        self._has_kept_limits = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="celery-defer-relay", daemon=True)

    def start(self) -> None:
        self._warn_of_risks()
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
            self._keep_limits()
            self._revoked.look()
            count = self._relay.tick(self._clock())
            self._extension.looked_at = self._clock()
        except Exception as error:  # nothing is lost
            self._note(error)
            signals.send_looked("failed")
            return 0
        signals.send_looked("no_broker" if self._relay.broker.is_on else "done", count)
        if self._away.ends():
            logger.warning("the store can be used again (%s)", self._extension.place)
            self._warn_of_risks()
        return count

    def _keep_limits(self) -> None:
        """Let those go on who wait for a limit that was in the code of earlier workers."""
        if not self._has_kept_limits:
            keep_limits(self._extension.app, self._relay.store)
            self._has_kept_limits = True

    def _note(self, error: Exception) -> None:
        if self._away.begins():
            logger.error(
                "the store cannot be used (%s): %s. Tasks run, and what they defer is published "
                "without it; runs that wait, and calls in the outbox, go on when it is back",
                self._extension.place,
                text_of(error),
                exc_info=not isinstance(error, AWAY),
            )

    def _warn_of_risks(self) -> None:
        if self._has_warned:
            return
        try:
            for risk in self._relay.store.risks():
                logger.warning("%s", risk)
            self._has_warned = True
        except Exception as error:
            self._note(error)

    def _rest(self) -> None:
        """Wait until the next look, or until a record is due; parking a run sets off the alarm."""
        if self._away.is_on or self._relay.broker.is_on:
            self._stopping.wait(max(self._away.pause, self._relay.broker.pause))
            return
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
        if store and (reason := store.refusal()):
            raise SettingsError(
                f"{extension.place} cannot be the store: {reason}; name another Redis"
            )
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
