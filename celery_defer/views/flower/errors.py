"""What the pages of the Deferred tab may fail with."""

from __future__ import annotations

from http import HTTPStatus


class UnknownFlowerError(Exception):
    """This Flower lacks something that the Deferred tab is built on."""


class PageError(Exception):
    """A page that cannot be shown, and why; *status* is that of the HTTP response."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status

    @property
    def is_missing(self) -> bool:
        """Whether nothing is known of what the page would show."""
        return self.status == HTTPStatus.NOT_FOUND
