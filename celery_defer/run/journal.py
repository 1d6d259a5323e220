"""The journal of a run: what the scope reads of its steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from celery_defer.model import Call
from celery_defer.run.memo import Memo


class Journal(Protocol):
    """The part of a run's steps that the scope reads; ``steps.Replay`` has it all."""

    #: When the run's steps were first recalled, in seconds since 1970.
    since: float
    is_cancelled: bool
    #: Why it was cancelled; what an event or a deadline that ends it early knows of it.
    why: str
    watched: Sequence[str]
    is_watched: bool
    has_begun: bool
    #: Whether the steps were read from the store.
    is_recalled: bool
    #: The error of a step that found no store, in case the body has swallowed it.
    lost_store: Exception | None
    #: What the run's result shows of its wait.
    waits_for: Mapping[str, Any]

    def failures(self) -> Iterable[tuple[str, Memo]]:
        """Return the steps whose failures are not stored, with what would be their memos."""
        ...

    def calls(self) -> Iterable[Call]:
        """Return the calls that finished steps deferred."""
        ...
