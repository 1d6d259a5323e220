"""The errors that the package raises; a class's docstring is its default message.

And the exceptions that say what a run does next, which are not errors.
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
    "ExperimentError",
    "IdError",
    "LeaseLostError",
    "LimitError",
    "LimitKeyError",
    "NoRecordError",
    "NoRunError",
    "NonRetriable",
    "NotDeferredError",
    "OptionError",
    "PayloadError",
    "RecordError",
    "RestartError",
    "ResultError",
    "RetryAfter",
    "ScoreError",
    "SettingsError",
    "StepError",
    "StoreAwayError",
    "StoreError",
    "Suspended",
    "TagError",
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

    Elsewhere, as in a view or a script, call defer in a block: ``with deferring():``. A thread that
    the task or the block starts sees its run through contextvars.copy_context().run(...), or with
    asyncio.to_thread(...).
    """


class NotDeferredError(DeferError):
    """The task is not a deferred function: put @deferred on top of it."""


class NoRecordError(DeferError):
    """Nothing is known of the run."""


class TagError(DeferError):
    """A tag cannot be set: its key and its value are short texts."""


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


class LimitKeyError(DeferError):
    """The key of a limit, or its priority, has no value for this payload: the call is skipped."""


class OptionError(DeferError, ValueError):
    """An option is unknown, or its value is impossible."""


class ContractError(DeferError, TypeError):
    """The function's signature or schema cannot be a contract."""


class SettingsError(DeferError, ValueError):
    """A defer_* setting is unknown, or its value is impossible."""


class RecordError(DeferError):
    """A record in the outbox was not written by this package."""


class UnknownRecordError(RecordError):
    """A record in the outbox was written by a later version of the package."""


class StoreError(DeferError):
    """This needs a store: set defer_store_url = 'redis://…'."""


class StoreAwayError(StoreError):
    """The store does not reply: a run with steps is tried again later."""


class LeaseLostError(DeferError):
    """The run has lost its place of a limit: it was not renewed within defer_lease.

    Another run may have the place now, so the body ends here. ``autoretry_for`` may have this.
    """


class RestartError(DeferError):
    """The run cannot be restarted."""


class ResultError(DeferError):
    """The parent's result is not stored."""


class StepError(DeferError):
    """A step has failed for good, or cannot begin.

    ``step`` is its id. The exception of the step's function is the ``__cause__``, also after a
    replay, if it can be rebuilt from its arguments and attributes.
    """

    def __init__(self, message: str = "", step: str = "") -> None:
        # Both go into `args`: Celery's backends and billiard rebuild an exception from them.
        super().__init__(message, step)
        self.step = step


class EventError(DeferError, ValueError):
    """An event's name, id, data or match is invalid."""


class NonRetriable(Exception):  # noqa: N818  # not an error itself: it says what to do with one
    """Raise this in a step to end its tries."""


class ScoreError(DeferError, NonRetriable, ValueError):
    """A score's name, value, comment or source is invalid; a step is not tried again after it."""


class ExperimentError(DeferError, NonRetriable, ValueError):
    """An experiment, its variants or their weights are invalid.

    A step is not tried again after it.
    """


class RetryAfter(Exception):  # noqa: N818  # as above
    """Raise this in a step to be tried again after *delay*: seconds, a timedelta, or ``"5m"``.

    Counts as one of the step's tries.
    """

    def __init__(self, delay: timedelta | float | str) -> None:
        super().__init__(delay)
        self.delay = delay


class Suspended(BaseException):  # not an Exception, so that bodies do not catch it
    """The run has left its worker; its body ends here, and is run again later."""


class Cancelled(Suspended):
    """The run was cancelled; its body ends here."""
