"""A function that fails as often as a test says, for steps that are to be tried again."""

from __future__ import annotations

__all__ = ["Declined", "Flaky"]


class Declined(Exception):
    """What a gateway raises."""


class Flaky:
    """Raises these errors, one a call, then returns how often it was called."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.calls
