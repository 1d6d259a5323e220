"""The thread that renews the places of the runs in progress in one process."""

from __future__ import annotations

import os
from threading import Condition, Thread
from time import monotonic

from celery_defer import guard, subject
from celery_defer.app.place import Place
from celery_defer.outbox import Outage
from celery_defer.store import Store

logger = guard.logger(__name__)

# How often a place is renewed within its lease.
_TIMES = 3


class Renewal:
    """Keeps the places of one process while its runs execute.

    The thread starts with the first place, in each process that a pool forks, and sleeps as long as
    there is none. It is a greenlet if the pool has patched threads.
    """

    def __init__(self) -> None:
        self._by_process: dict[int, _Renewing] = {}

    def add(self, place: Place) -> None:
        """Renew a place from now on."""
        own = self._by_process.get(os.getpid())
        if own is None:
            own = self._by_process.setdefault(os.getpid(), _Renewing())
        own.add(place)

    def remove(self, place: Place) -> None:
        """Renew a place no more."""
        if own := self._by_process.get(os.getpid()):
            own.remove(place)

    def renew(self) -> None:
        """Renew all places now, as the thread does from time to time."""
        if own := self._by_process.get(os.getpid()):
            own.renew()


class _Renewing:
    """The places of this process, and their thread."""

    def __init__(self) -> None:
        self._places: set[Place] = set()
        self._changed = Condition()
        self._thread: Thread | None = None
        self._away = Outage()

    def add(self, place: Place) -> None:
        with self._changed:
            self._places.add(place)
            if self._thread is None:
                self._thread = Thread(target=self._run, name="celery-defer-lease", daemon=True)
                self._thread.start()
            self._changed.notify()

    def remove(self, place: Place) -> None:
        with self._changed:
            self._places.discard(place)

    def _run(self) -> None:
        while True:
            with self._changed:
                while (left := self._left()) is None or left > 0:
                    self._changed.wait(left)
            self.renew()

    def _left(self) -> float | None:
        """Return in how many seconds the first place is to be renewed; None if there is none."""
        now = monotonic()
        due = (place.asked + place.lease / _TIMES - now for place in self._open())
        return min(due, default=None)

    def _open(self) -> list[Place]:
        return [place for place in self._places if not place.is_over]

    def renew(self) -> None:
        now = monotonic()
        with self._changed:
            places = self._open()
        for place in places:
            place.asked = now
        stores: dict[int, tuple[Store, float, list[Place]]] = {}
        for place in places:
            stores.setdefault(id(place.store), (place.store, place.lease, []))[2].append(place)
        for store, lease, own in stores.values():
            try:
                lost = store.renew([place.hold for place in own], lease)
            except Exception as error:
                if self._away.begins():
                    logger.error(
                        "the places of %d runs cannot be renewed, so other runs may get them: %s",
                        len(own),
                        error,
                    )
                continue
            self._away.ends()
            for place in own:
                place.renewed = now
                if place.hold in lost:
                    self._lose(place)

    def _lose(self, place: Place) -> None:
        with self._changed:
            if place not in self._places or place.is_over:
                return
            self._places.discard(place)
        logger.warning(
            "run %s has lost its place: it was not renewed within defer_lease, and its body is "
            "interrupted",
            place.hold.run,
            extra=subject.of(place.hold.run),
        )
        place.lose()
