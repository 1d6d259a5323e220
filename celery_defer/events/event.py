"""Events: named payloads, sent from anywhere, that waiting runs receive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from hashlib import blake2b
from typing import Any, Generic, TypeVar, overload
from uuid import uuid4

from celery.exceptions import SoftTimeLimitExceeded
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from celery_defer import current as apps
from celery_defer.contract import JsonType
from celery_defer.errors import EventError, StepError, StoreError
from celery_defer.events import schema as schemas
from celery_defer.outbox import fanout as waves
from celery_defer.run import memo
from celery_defer.run.memo import Memo
from celery_defer.run.scope import find
from celery_defer.store import SentEvent
from celery_defer.store import match as matching
from celery_defer.text import safe_repr

__all__ = ["Event", "Received", "received", "send_event", "typed", "wanted"]

T = TypeVar("T")

_ANYTHING = JsonType(TypeAdapter(Any))


class Event(Generic[T]):
    """Declares an event: its name, and the type of its data, which pydantic checks.

    >>> purchase = Event("purchase/completed", PurchaseCompleted)
    """

    __slots__ = ("_kind", "_schema", "name")

    def __init__(self, name: str, schema: type[T]) -> None:
        self.name = _checked("name", name)
        self._schema = schema
        self._kind = _kind_of(name, schema)

    def __repr__(self) -> str:
        return f"Event({self.name!r})"


@dataclass(frozen=True, slots=True)
class Received(Generic[T]):
    """An event that a run has received: ``id`` is the sender's or a random one, ``at`` is UTC."""

    id: str
    name: str
    at: datetime
    data: T


@overload
def send_event(name: Event[T], data: T, *, id: str | None = None) -> int: ...
@overload
def send_event(name: str, data: object = None, *, id: str | None = None) -> int: ...
def send_event(name: Event[Any] | str, data: object = None, *, id: str | None = None) -> int:
    """Wake the runs that wait for *name*, and answer how many there were.

    Runs that begin to wait later receive it too, if they were deferred before it was sent and
    within ``defer_event_retention``. May be called from any process with the app; the same
    *id* within a day counts once for a name. *data* is anything that pydantic writes as JSON,
    in ``defer_max_payload_bytes``.

    Raises EventError for a bad name, id or data, and StoreError without a Redis that answers.

    >>> send_event("purchase/completed", {"order_id": "o-1", "total": 12})
    """
    run = find()
    app = run.app if run else apps.in_use()
    extension = app._celery_defer
    if extension.store is None:
        raise StoreError
    event = _made(name, data, id, extension.clock(), extension.settings.max_payload_bytes)
    try:
        return waves.send(app, extension, event)
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        # What a client of Redis raises has its place and reason in its text, not in its repr.
        cause = error.__cause__ or error if isinstance(error, StoreError) else error
        told = f"{type(cause).__name__}: {cause}"
        raise StoreError(
            f"event {event.name!r} finds no store ({told}): send it again when it is back"
        ) from cause


def typed(event: object) -> tuple[str, JsonType]:
    """Answer an event's name, and how its data is written."""
    if isinstance(event, Event):
        return event.name, event._kind
    if isinstance(event, type):
        kind = event.__qualname__
        raise EventError(f"{kind} is no name of an event: declare one, Event('name', {kind})")
    return _checked("name", event), _ANYTHING


def wanted(event: Event[Any] | str, values: Mapping[str, Any] | None) -> matching.Match:
    """Read the values that a wait compares, by the type of a declared event."""
    if isinstance(event, Event):
        return matching.match(event.name, schemas.typed(event.name, event._schema, values))
    return matching.match(event, values)


def received(step: str, known: Memo, kind: JsonType) -> Received[Any] | None:
    """Answer what a memo says of the event that a step waited for; None if none came."""
    found = from_json(known.result)
    if found is None:
        return None
    try:
        data = kind.load(to_json(found["data"]).decode())
    except ValidationError as error:
        raise StepError(
            f"step {step!r} has received event {found['name']!r} ({found['id']}), whose data is "
            f"not what the event declares: {_listed(error)}",
            step,
        ) from error
    at = datetime.fromtimestamp(found["at"], timezone.utc)
    return Received(found["id"], found["name"], at, data)


def _kind_of(name: str, schema: Any) -> JsonType:
    try:
        return JsonType(TypeAdapter(schema))
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:  # pydantic's, or whatever an annotation raises
        reason = str(error).partition("\n")[0]
        raise EventError(
            f"event {name!r}: {safe_repr(schema)} is no type of data that pydantic can check: "
            f"{reason}"
        ) from error


def _made(
    event: Event[Any] | str, data: object, id: str | None, now: float, limit: int
) -> SentEvent:
    name, kind = typed(event)
    own = uuid4().hex if id is None else _checked("id", id)
    # Another name may have an event of the same id.
    unique = blake2b(to_json([name, own]), digest_size=16).hexdigest()
    try:
        json = kind.dump(kind.check(data) if isinstance(event, Event) else data)
    except ValidationError as error:
        raise EventError(f"event {name!r} ({own}): {_listed(error)}") from error
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:  # a user's serializer may raise anything
        raise EventError(f"event {name!r} ({own}): its data is not JSON: {error}") from error
    if len(json.encode()) > limit:
        raise EventError(
            f"event {name!r} ({own}) has {len(json.encode())} bytes of data; "
            f"defer_max_payload_bytes = {limit} is the limit: keep it elsewhere, and send where"
        )
    head = to_json({"id": own, "name": name, "at": now}).decode()
    result = f'{head[:-1]},"data":{json}}}'
    return SentEvent(unique, name, now, memo.pack(Memo(result)), id is not None)


def _listed(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'data'}: {problem['msg']}"
        for problem in error.errors(include_url=False)
    )


def _checked(what: str, text: object) -> str:
    if isinstance(text, str) and text and text.isprintable():
        return text
    raise EventError(f"{text!r} is no {what} of an event: give a line of printable text")
