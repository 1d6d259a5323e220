"""The payload of a run, as its limits read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from celery_defer import paths


class Reader(Protocol):
    """What knows how a function's payload is passed: its contract.

    Each method takes the arguments of a message; of a batch it reads the first payload.
    """

    def sent(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return the values by their names, as they were sent; raise PayloadError."""

    def parsed(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return the payload as the function takes it; raise PayloadError."""

    def normal(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return the values by their names, as ``defer`` sends them; raise PayloadError."""


class Payload:
    """The payload of one message: its JSON, and what pydantic makes of it where that is needed.

    With ``is_checked`` the JSON is what ``defer`` has sent, so it is read as it is.
    """

    __slots__ = ("_args", "_kwargs", "_normal", "_parsed", "_reader", "_sent")

    def __init__(
        self,
        reader: Reader,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        is_checked: bool = True,
    ) -> None:
        self._reader = reader
        self._args = args
        self._kwargs = kwargs
        self._sent: Any = paths.MISSING if is_checked else None
        self._parsed: Any = paths.MISSING
        self._normal: Any = paths.MISSING

    @property
    def parsed(self) -> Any:
        """The payload as the function takes it: a model, say, or a dict of the arguments."""
        if self._parsed is paths.MISSING:
            self._parsed = self._reader.parsed(self._args, self._kwargs)
        return self._parsed

    def at(self, path: str) -> Any:
        """Return the value at a dotted path of the JSON; ``paths.MISSING`` if there is none."""
        steps = path.split(".")
        if self._sent is paths.MISSING:
            self._sent = self._reader.sent(self._args, self._kwargs)
        value = paths.at(self._sent, steps)
        if value is not paths.MISSING:
            return value
        # A message by `delay` may leave out what has a default, or use an alias.
        if self._normal is paths.MISSING:
            self._normal = self._reader.normal(self._args, self._kwargs)
        return paths.at(self._normal, steps)
