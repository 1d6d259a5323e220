"""A message that Celery acknowledges without storing a result."""

from __future__ import annotations

import sys
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.app import trace
from celery.exceptions import Ignore
from celery.states import IGNORED


class Ignored(Ignore):
    """The run has parked or was cancelled, or may not start."""


class _Info:
    """What billiard.einfo.ExceptionInfo has, without a traceback, which nobody would read.

    Making that takes a quarter of the time in which a run parks.
    """

    tb = None
    traceback = ""

    def __init__(self, error: BaseException, internal: bool) -> None:
        self.type, self.exception, self.internal = type(error), error, internal

    @property
    def exc_info(self) -> tuple[type[BaseException], BaseException, None]:
        return self.type, self.exception, None


def exception_info(exc_info: Any = None, internal: bool = False) -> Any:
    """Replace ExceptionInfo in celery.app.trace, which only calls it."""
    error = (exc_info or sys.exc_info())[1]
    return (
        _Info(error, internal) if isinstance(error, Ignored) else ExceptionInfo(exc_info, internal)
    )


def acknowledged(reason: str) -> Any:
    """Return what trace_task returns when a body raises Ignore: the message is acknowledged."""
    error = Ignored(reason)
    return trace.trace_ok_t(_Info(error, True), trace.TraceInfo(IGNORED, error), 0.0, None)
