"""Every error that the package raises; a class's docstring is its default message.

And what is raised to say what a run does next, which is no error.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from datetime import timedelta

__all__ = [
    "Cancelled",
    "ContractError",
    "DeferError",
    "DepthError",
    "EventError",
    "IdError",
    "LimitError",
    "NoRunError",
    "NonRetriable",
    "NotDeferredError",
    "OptionError",
    "PayloadError",
    "RecordError",
    "ResultError",
    "RetryAfter",
    "SettingsError",
    "StepError",
    "StoreAwayError",
    "StoreError",
    "Suspended",
    "UnknownRecordError",
]


class DeferError(Exception):
    """Something is wrong with a deferred call."""

    def __init__(self, message: str = "", *rest: object) -> None:
        super().__init__(message or " ".join((inspect.getdoc(type(self)) or "").split()), *rest)

    def __str__(self) -> str:
        return str(self.args[0])


class NoRunError(DeferError):
    """There is no run in progress: call this inside a Celery task of an app with Defer(app).

    A thread that the task starts sees its run through contextvars.copy_context().run(...), or
    with asyncio.to_thread(...).
    """


class NotDeferredError(DeferError):
    """The task is not a deferred function: put @deferred on top of it."""


class IdError(DeferError):
    """A defer id is a non-empty string, used once in a run; a run's id is that of its task."""


class PayloadError(DeferError):
    """The payload does not fit the deferred function's contract.

    ``problems`` has a line for each thing that is wrong, each beginning with the
    path of the value.
    """

    def __init__(self, message: str = "", problems: Sequence[str] = ()) -> None:
        # Both go into `args`: Celery's backends and billiard rebuild an exception from them.
        super().__init__(message, list(problems))
        self.problems = list(problems)


class LimitError(DeferError):
    """A limit on deferred calls is reached."""


class DepthError(LimitError):
    """Deferred runs are nested too deep."""


class OptionError(DeferError, ValueError):
    """An option is unknown, or its value is impossible."""


class ContractError(DeferError, TypeError):
    """The function's signature or schema cannot be a contract."""


class SettingsError(DeferError, ValueError):
    """A defer_* setting is unknown, or its value is impossible."""


class RecordError(DeferError):
    """A record in the outbox is not one of ours."""


class UnknownRecordError(RecordError):
    """A record in the outbox is of a later version of the package, which will see to it."""


class StoreError(DeferError):
    """This needs a store: set defer_store_url = 'redis://…'."""


class StoreAwayError(StoreError):
    """The store does not answer: a run with steps is tried again when it may be back."""


class ResultError(DeferError):
    """The parent's result is not stored."""


class StepError(DeferError):
    """A step has failed for good, or cannot begin.

    ``step`` is its id. What the step's function raised is the ``__cause__``, also after a
    replay, if it can be made again of its arguments and attributes.
    """

    def __init__(self, message: str = "", step: str = "") -> None:
        # Both go into `args`: Celery's backends and billiard rebuild an exception from them.
        super().__init__(message, step)
        self.step = step


class EventError(DeferError, ValueError):
    """An event's name, data or match is not one."""


class NonRetriable(Exception):  # noqa: N818  # no error by itself: it says what to do with one
    """Raise this in a step to end its tries."""


class RetryAfter(Exception):  # noqa: N818  # as above
    """Raise this in a step to be tried again after *delay*: seconds, a timedelta, or ``"5m"``.

    Counts as one of the step's tries.
    """

    def __init__(self, delay: timedelta | float | str) -> None:
        super().__init__(delay)
        self.delay = delay


class Suspended(BaseException):  # no error: a body that catches errors lets it go
    """The run has left its worker; its body ends here, and is run again later."""


class Cancelled(Suspended):
    """The run was cancelled; its body ends here."""
