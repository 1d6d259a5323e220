"""An event: its name, the type of its data, and one that a run has received."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from hashlib import blake2b
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from celery_defer import durations, guard
from celery_defer.contract import JsonType, returns
from celery_defer.durations import Duration
from celery_defer.errors import EventError, StepError
from celery_defer.events import schema
from celery_defer.run import Memo
from celery_defer.store import Match, match
from celery_defer.text import safe_repr

T = TypeVar("T")


class Event(Generic[T]):
    """Declares an event: its name, and the type of its data, which pydantic checks.

    *keep* is for how long it is kept for runs that begin to wait later: seconds, a timedelta, or
    text such as ``"10m"``; 0 for an event that only runs receive that wait already. Without it,
    ``defer_event_retention`` says that.

    >>> purchase = Event("purchase/completed", PurchaseCompleted)
    """

    __slots__ = ("_keep", "_kind", "_schema", "name")

    def __init__(self, name: str, schema: type[T], *, keep: Duration | None = None) -> None:
        #: The event's name.
        self.name = checked("name", name)
        self._keep = None if keep is None else _kept(name, keep)
        self._schema = schema
        self._kind = _kind_of(name, schema)

    def __repr__(self) -> str:
        return f"Event({self.name!r})"


@dataclass(frozen=True, slots=True)
class Received(Generic[T]):
    """An event that a run has received."""

    id: str  #: The id that the sender gave, or a random one.
    name: str  #: The event's name.
    at: datetime  #: When it was sent by the clock of its sender, with time zone UTC.
    data: T  #: Its data: of the type that the ``Event`` declares, or plain JSON.


def typed(event: object) -> tuple[str, JsonType]:
    """Return an event's name, and the type of its data."""
    if isinstance(event, Event):
        return event.name, event._kind
    if isinstance(event, type):
        kind = event.__qualname__
        raise EventError(f"{kind} is no name of an event: declare one, Event('name', {kind})")
    return checked("name", event), returns.PLAIN


def kept_for(event: object, retention: float) -> float:
    """Return for how many seconds an event is kept; *retention* if it does not say."""
    keep = event._keep if isinstance(event, Event) else None
    return retention if keep is None else keep


def wanted(event: Event[Any] | str, values: Mapping[str, Any] | None) -> Match:
    """Read the values that a wait compares, by the type of a declared event."""
    if isinstance(event, Event):
        return match(event.name, schema.typed(event.name, event._schema, values))
    return match(event, values)


def received(step: str, memo: Memo, kind: JsonType) -> Received[Any] | None:
    """Return the event in a memo; None if the wait has timed out."""
    event = from_json(memo.result)
    if event is None:
        return None
    try:
        data = kind.load(to_json(event["data"]).decode())
    except ValidationError as error:
        raise StepError(
            f"step {step!r} has received event {event['name']!r} ({event['id']}), whose data is "
            f"not what the event declares: {listed(error)}",
            step,
        ) from error
    at = datetime.fromtimestamp(event["at"], timezone.utc)
    return Received(event["id"], event["name"], at, data)


def unique(name: str, id: str) -> str:
    """Return the id of an event in the store: one of another name may have the same id."""
    return blake2b(to_json([name, id]), digest_size=16).hexdigest()


def _kept(name: str, keep: object) -> float:
    seconds = durations.read(keep)
    if seconds is None or seconds < 0:
        raise EventError(f"event {name!r} cannot be kept for {keep!r}: give {durations.FORMS}")
    return seconds


def _kind_of(name: str, schema: Any) -> JsonType:
    def refused(error: Exception) -> EventError:  # pydantic's, or whatever an annotation raises
        reason = str(error).partition("\n")[0]
        return EventError(
            f"event {name!r}: {safe_repr(schema)} is no type of data that pydantic can check: "
            f"{reason}"
        )

    with guard.translated(refused):
        return JsonType(TypeAdapter(schema))


def listed(error: ValidationError) -> str:
    """Return the problems with an event's data on one line."""
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'data'}: {problem['msg']}"
        for problem in error.errors(include_url=False)
    )


def checked(what: str, text: object) -> str:
    """Return the name or id of an event; raise EventError for a bad one."""
    if isinstance(text, str) and text and text.isprintable():
        return text
    raise EventError(f"{text!r} is no {what} of an event: give a line of printable text")
