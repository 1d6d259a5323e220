"""How an event is sent, and wakes the runs that wait for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, overload
from uuid import uuid4

from pydantic import ValidationError
from pydantic_core import to_json

from celery_defer import guard
from celery_defer.errors import EventError, StoreError
from celery_defer.events.event import Event, checked, kept_for, listed, typed, unique
from celery_defer.events.woken import Woken
from celery_defer.outbox import fan_out
from celery_defer.run import Memo, extension_for
from celery_defer.store import SentEvent

T = TypeVar("T")


@overload
def send_event(
    name: Event[T], data: T | Mapping[str, Any], *, id: str | None = None, app: Any = None
) -> Woken: ...
@overload
def send_event(
    name: str, data: object = None, *, id: str | None = None, app: Any = None
) -> Woken: ...
def send_event(
    name: Event[Any] | str, data: object = None, *, id: str | None = None, app: Any = None
) -> Woken:
    """Wake the runs that wait for *name*, and return how many it has woken: an ``int``.

    If very many wait, it wakes the first hundred, and relays the others in a moment; the returned
    number then says ``has_more``. Runs that begin to wait later receive the event too, if they were
    deferred before it was sent and within ``defer_event_retention``. An event with the same name
    and *id* counts once within a day; what a repeat returns says ``is_repeat``. *data* is anything
    that pydantic writes as JSON, of at most ``defer_max_payload_bytes``.

    Any process with the app may call this. Without *app* it is the app of the run in progress, else
    Celery's current app, else the one app with a ``Defer``.

    Raises EventError for a bad name, id or data, and StoreError without a Redis that replies.

    >>> send_event("purchase/completed", {"order_id": "o-1", "total": 12})
    """
    extension = extension_for(app)
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
        keep = kept_for(name, extension.settings.event_retention)
        sent = fan_out(extension, event, keep)
    return Woken(
        sent.woken, is_repeat=sent.is_repeat, has_more=sent.has_more, cancelled=sent.cancelled
    )


def _event(
    event: Event[Any] | str, data: object, id: str | None, now: float, limit: int
) -> SentEvent:
    name, kind = typed(event)
    event_id = uuid4().hex if id is None else checked("id", id)

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
    return SentEvent(
        unique(name, event_id),
        name,
        now,
        Memo(result, kind="wait_for_event").pack(),
        id is not None,
    )
