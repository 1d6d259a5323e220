"""Where a worker under test may be killed: in the hash ``kill`` of its results' Redis.

Its fields are a point and the id of a run; its values say who dies there, the "child" of the pool
that is at this point, or the whole "worker". Each kill happens once.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from celery_defer.current import extension_of
from celery_defer.flow import Go

__all__ = ["POINTS", "field_of", "install"]

#: Each point, in the order in which a run comes by.
POINTS = {
    "asked": "it has a place, its body has not begun",
    "unheld": "it may not start, and is not held yet",
    "held": "it is held, its message not acknowledged",
    "unreleased": "its result is stored, it has its place",
    "released": "its place is given to the next, which is not published",
    "drained": "the relay has given a place to the next, which is not published",
}


def field_of(point: str, run: str) -> str:
    """Return the field that says who dies at a point of a run."""
    return f"{point} {run}"


def install(app: Any) -> None:
    """Put the points round the store of *app*."""
    extension: Any = extension_of(app)
    store = extension.store

    def reach(point: str, run: str) -> None:
        client: Any = app.backend.client
        who = client.hget("kill", field_of(point, run))
        if who is not None and client.hdel("kill", field_of(point, run)):
            if who == b"worker":
                os.killpg(os.getpgid(0), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

    extension.store = _Store(store, reach)


class _Store:
    """A store, with points before or after what it does."""

    def __init__(self, store: Any, reach: Callable[[str, str], None]) -> None:
        self._store, self._reach = store, reach
        self._apart = os.environ.get("FLOW_APART") == "1"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def claim(self, id: str, *args: Any, **kwargs: Any) -> Any:
        claim = self._store.claim(id, *args, **kwargs)
        if isinstance(claim.admission, Go):
            self._reach("asked", id)
        return claim

    def resume(self, id: str, *args: Any, **kwargs: Any) -> Any:
        resumed = self._store.resume(id, *args, **kwargs)
        if isinstance(resumed.claim.admission, Go):
            self._reach("asked", id)
        return resumed

    def hold(self, ask: Any, *args: Any, **kwargs: Any) -> Any:
        self._reach("unheld", ask.run)
        held = self._store.hold(ask, *args, **kwargs)
        self._reach("held", ask.run)
        return held

    def giving(self, hold: Any, **times: Any) -> Any:
        giving = None if self._apart else self._store.giving(hold, **times)
        if giving is None:
            return None

        def read(rows: Any) -> Any:
            leased = giving.read(rows)
            if leased:
                self._reach("released", hold.run)
            return leased

        return replace(giving, read=read)

    def give_back(self, run: str, *args: Any, **kwargs: Any) -> Any:
        self._reach("unreleased", run)
        leased = self._store.give_back(run, *args, **kwargs)
        if leased:
            self._reach("released", run)
        return leased

    def drain(self, *args: Any, **kwargs: Any) -> Any:
        leased = self._store.drain(*args, **kwargs)
        for each in leased:
            self._reach("drained", each.id)
        return leased
