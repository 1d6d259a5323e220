"""Whether anybody listens to the events of tasks, as a worker's main process knows it."""

from __future__ import annotations

import mmap

_UNKNOWN, _NOBODY, _SOMEBODY = 0, 1, 2

# One byte that the children of a pool share, for they fork after this. It says nothing in a process
# that is no child of such a worker.
_shared = mmap.mmap(-1, 1)


def note(listens: bool) -> None:
    """Let the worker's children know: Celery's main process sends events only where they are on."""
    _shared[0] = _SOMEBODY if listens else _NOBODY


def may_listen() -> bool:
    """Whether an event could reach somebody."""
    return _shared[0] != _NOBODY


def forget() -> None:
    """Know nothing again, as before a worker began."""
    _shared[0] = _UNKNOWN
