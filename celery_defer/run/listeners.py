"""Whether task events are on, as the worker's main process knows it."""

from __future__ import annotations

import mmap

_UNKNOWN, _NOBODY, _SOMEBODY = 0, 1, 2

# One byte, shared with the pool's children, which fork after this; unknown in other processes.
_shared = mmap.mmap(-1, 1)


def note(listens: bool) -> None:
    """Pass on to the pool's children whether the worker sends task events."""
    _shared[0] = _SOMEBODY if listens else _NOBODY


def may_listen() -> bool:
    """Whether an event may have a listener."""
    return _shared[0] != _NOBODY


def forget() -> None:
    """Go back to unknown, as before the worker started."""
    _shared[0] = _UNKNOWN
