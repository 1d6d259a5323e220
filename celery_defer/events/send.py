"""How an event is sent, and wakes the runs that wait for it."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, TypeVar, overload
from uuid import uuid4

from pydantic import ValidationError
from pydantic_core import to_json

from celery_defer import guard
from celery_defer.current import extension_of, in_use
from celery_defer.errors import EventError, StoreError
from celery_defer.events.event import Event, checked, listed, typed
from celery_defer.outbox import fan_out
from celery_defer.run import Memo, find
from celery_defer.store import SentEvent

T = TypeVar("T")


@overload
def send_event(name: Event[T], data: T, *, id: str | None = None) -> int: ...
@overload
def send_event(name: str, data: object = None, *, id: str | None = None) -> int: ...
def send_event(name: Event[Any] | str, data: object = None, *, id: str | None = None) -> int:
    """Wake the runs that wait for *name*, and return how many there were.

    Runs that begin to wait later receive it too, if they were deferred before it was sent and
    within ``defer_event_retention``. Any process with the app may call this. An event with the same
    name and *id* counts once within a day. *data* is anything that pydantic writes as JSON, of at
    most ``defer_max_payload_bytes``.

    Raises EventError for a bad name, id or data, and StoreError without a Redis that replies.

    >>> send_event("purchase/completed", {"order_id": "o-1", "total": 12})
    """
    run = find()
    app = run.app if run else in_use()
    extension = extension_of(app)
    if extension.store is None:
        raise StoreError
    event = _event(name, data, id, extension.clock(), extension.settings.max_payload_bytes)

    def away(error: Exception) -> StoreError:
        # The errors of redis-py say where and why in their text, not in their repr.
        reason = f"{type(error).__name__}: {error}"
        return StoreError(
            f"event {event.name!r} finds no store ({reason}): send it again when it is back"
        )

    with guard.translated(away):
        return fan_out(app, extension, event)


def _event(
    event: Event[Any] | str, data: object, id: str | None, now: float, limit: int
) -> SentEvent:
    name, kind = typed(event)
    event_id = uuid4().hex if id is None else checked("id", id)
    # An event of another name may have the same id.
    unique = blake2b(to_json([name, event_id]), digest_size=16).hexdigest()

    def refused(error: Exception) -> EventError:  # a user's serializer may raise anything
        reason = f"its data is not JSON: {error}"
        if isinstance(error, ValidationError):
            reason = listed(error)
        return EventError(f"event {name!r} ({event_id}): {reason}")

    with guard.translated(refused):
        json = kind.dump(kind.check(data) if isinstance(event, Event) else data)
    if len(json.encode()) > limit:
        raise EventError(
            f"event {name!r} ({event_id}) has {len(json.encode())} bytes of data; "
            f"defer_max_payload_bytes = {limit} is the limit: store it elsewhere, and send where"
        )
    head = to_json({"id": event_id, "name": name, "at": now}).decode()
    result = f'{head[:-1]},"data":{json}}}'
    return SentEvent(unique, name, now, Memo(result, kind="wait_for_event").pack(), id is not None)
