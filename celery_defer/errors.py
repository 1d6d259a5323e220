"""Every error that the package raises; a class's docstring is its default message."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

__all__ = [
    "ContractError",
    "DeferError",
    "DepthError",
    "EventError",
    "IdError",
    "LimitError",
    "NoRunError",
    "NotDeferredError",
    "OptionError",
    "PayloadError",
    "RecordError",
    "ResultError",
    "SettingsError",
    "StepError",
    "StoreAwayError",
    "StoreError",
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
