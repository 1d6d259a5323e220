"""What is raised to say what a run does next; none of it is an error of the package."""

from __future__ import annotations

from datetime import timedelta

__all__ = ["Cancelled", "NonRetriable", "RetryAfter", "Suspended"]


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
