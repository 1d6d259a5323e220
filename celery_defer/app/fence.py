"""A fence around a body: another thread can interrupt the body, and nothing after it."""

from __future__ import annotations

import ctypes
from threading import get_ident
from time import sleep

_set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc


class Fence:
    """Raises an exception in the thread that has made it, until it is closed.

    Under gevent and eventlet, where the threads are greenlets, it has no effect.
    """

    def __init__(self) -> None:
        self._thread = get_ident()
        self._is_open = True
        self._is_firing = self._has_fired = False

    def fire(self, error: type[Exception]) -> None:
        """Raise *error* in the thread, at its next instruction in Python, if the fence is open."""
        # The one thread writes this and reads that, `close` writes that and reads this: so one of
        # them sees what the other does, without a lock, in which an interrupt might leave it.
        self._is_firing = True
        if self._is_open and not self._has_fired:
            self._has_fired = True
            _set_async_exc(ctypes.c_ulong(self._thread), ctypes.py_object(error))
        self._is_firing = False

    def close(self) -> None:
        """Let nothing be raised from now on; this itself may raise it, and is called again then."""
        self._is_open = False
        while self._is_firing:
            sleep(0)
        if self._has_fired:  # and perhaps not raised yet
            _set_async_exc(ctypes.c_ulong(self._thread), None)
