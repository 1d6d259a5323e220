"""The places of limits that a run in progress has, and how it finds out that it has lost them."""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import blake2b
from threading import current_thread, main_thread
from time import monotonic
from typing import TypeVar

from celery_defer import guard, subject
from celery_defer.app.fence import Fence
from celery_defer.errors import LeaseLostError
from celery_defer.ids import RunId
from celery_defer.store import Hold, Store

T = TypeVar("T")

logger = guard.logger(__name__)


class Place:
    """What one delivery of a run has got from the gates of its function, by its *hold*."""

    def __init__(
        self, store: Store, hold: Hold, lease: float, cancels: RunId | None = None
    ) -> None:
        self.store = store
        self.hold = hold
        self.lease = lease
        #: The run in whose place a singleton lets this one start.
        self.cancels = cancels
        self.is_lost = False
        #: Whether it is given back as the result is stored; then it is not renewed.
        self.is_over = False
        self._fence: Fence | None = None
        #: When it was renewed last, and when that was tried, by a clock that only goes forward.
        self.renewed = self.asked = monotonic()

    def inside(self, body: Callable[[], T]) -> T:
        """Return what *body* returns; it is interrupted if the place is lost.

        Raises LeaseLostError then, also if the body has swallowed it.
        """
        fence = self._fence = Fence()
        try:
            try:
                result = body()
            finally:
                fence.close()
        except LeaseLostError:
            fence.close()
            raise
        self.check()
        return result

    def check(self) -> None:
        """Raise LeaseLostError if the place is lost; look, if it may be and nobody has looked."""
        if not self.is_lost and monotonic() - self.renewed > self.lease:
            about = subject.of(self.hold.run)
            with guard.logged(
                logger, "run %s: it may have lost its place", self.hold.run, about=about
            ):
                self.is_lost = bool(self.store.renew([self.hold], self.lease))
                self.renewed = monotonic()
        if self.is_lost:
            raise LeaseLostError

    def lose(self) -> None:
        """Note that somebody else may have the place, and interrupt the body."""
        self.is_lost = True
        if self._fence is not None:
            self._fence.fire(LeaseLostError)


def token_of(owner: str, hostname: object) -> str:
    """Return the token of one delivery, which names its message as its *owner* does.

    The main thread of a pool's process runs one task at a time, so its worker knows the token by
    the number of the process, and can give back what the process had when it was killed.
    """
    if current_thread() is main_thread():
        return token_of_process(owner, hostname, os.getpid())
    return owner


def token_of_process(owner: str, hostname: object, pid: int) -> str:
    """Return the token of a delivery that the main thread of a process has."""
    digest = blake2b(f"{hostname}/{pid}".encode(errors="replace"), digest_size=6).digest()
    return f"{owner.rpartition('.')[0]}.{urlsafe_b64encode(digest).decode()}"
