"""What ends a run from outside: events that cancel it, and times that it must not exceed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from celery_defer.durations import Duration
from celery_defer.errors import OptionError
from celery_defer.flow import checks
from celery_defer.flow.checks import Key
from celery_defer.text import safe_repr


class Named(Protocol):
    """An ``Event``: what has the name of one."""

    name: str


@dataclass(frozen=True, slots=True, init=False)
class CancelOn:
    """Cancels a run when an event is sent, whether it waits to start, at a step, or executes.

    *match* compares values of the event with those of the payload, path by path:
    ``{"order_id": "order_id"}``; instead of a path of the payload it may have a function of the
    payload. With *timeout* only an event that is sent so soon after the call counts: seconds, a
    timedelta, or text such as ``"1h"``. Raises OptionError for an impossible value.

    >>> @deferred(app, cancel_on=[CancelOn("order/cancelled", match={"order_id": "order_id"})])
    ... def ship(order_id: str) -> None: ...
    """

    #: The event, or its name.
    event: Named | str
    #: The paths of the event whose values must equal those of the payload.
    match: Mapping[str, Key]
    #: For how many seconds after the call an event counts; None for no end.
    timeout: float | None

    def __init__(
        self,
        event: Named | str,
        match: Mapping[str, Key] | None = None,
        timeout: Duration | None = None,
    ) -> None:
        object.__setattr__(self, "event", event)
        object.__setattr__(self, "match", _match(match))
        length = checks.optional_period("CancelOn", "timeout", timeout)
        object.__setattr__(self, "timeout", length)
        name = self.name
        if not (isinstance(name, str) and name and name.isprintable()):
            raise OptionError(
                f"CancelOn: {safe_repr(event, 80)} is no event: give an Event, or the name of one, "
                "which is a line of printable text"
            )

    @property
    def name(self) -> str:
        """The event's name."""
        return self.event if isinstance(self.event, str) else getattr(self.event, "name", "")


@dataclass(frozen=True, slots=True, init=False)
class Timeouts:
    """Ends a run that takes too long, as REVOKED with the reason.

    *start* is the longest time from the call to the start of its body, *finish* from then to its
    end, with its waits and retries: seconds, timedeltas, or text such as ``"1h"``. Raises
    OptionError for an impossible value, and for neither of them.

    >>> @deferred(app, timeouts=Timeouts(start="10m", finish="1h"))
    ... def quote(order_id: str) -> None: ...
    """

    #: The longest time from the call to the start of its body, in seconds.
    start: float | None
    #: The longest time from the start of its body to its end, in seconds.
    finish: float | None

    def __init__(self, start: Duration | None = None, finish: Duration | None = None) -> None:
        if start is None and finish is None:
            raise OptionError("Timeouts: give start=, finish= or both; without them nothing ends")
        for name, value in (("start", start), ("finish", finish)):
            object.__setattr__(self, name, checks.optional_period("Timeouts", name, value))


def _match(match: object) -> Mapping[str, Key]:
    if match is None:
        return {}
    if not isinstance(match, Mapping):
        raise OptionError(
            f"CancelOn: match={safe_repr(match, 80)} is no mapping: give the paths of the event, "
            "each with that of the payload, as {'order_id': 'order_id'}"
        )
    for path, key in match.items():
        checks.path("CancelOn: match", path)
        if key is None:
            raise OptionError(f"CancelOn: match[{path!r}] is None: give a path of the payload")
        checks.key("CancelOn: match", key)
    return dict(match)
