"""An event on its way to all who wait for it: in waves, which any relay goes on with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from celery.exceptions import SoftTimeLimitExceeded
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from celery_defer.errors import RecordError, StoreError
from celery_defer.ids import RunId
from celery_defer.outbox.wake import LEASE, wake
from celery_defer.run import memo
from celery_defer.store import NO_SHAPE, Emitted, Rest, SentEvent, Store
from celery_defer.store import match as matching
from celery_defer.text import text_of

__all__ = ["go_on", "is_unfinished", "send", "unpack"]

# So many runs are woken by one question to the store.
_LIMIT = 500
# So many waves a relay sends before it looks after other records.
_MOST_WAVES = 20
# Names of which the shapes are remembered.
_MOST_NAMES = 1_000

# What a body begins with, so that those of events are told from others.
_MARK = b"\x02"
_adapter = TypeAdapter(SentEvent)
_shapes: WeakKeyDictionary[Any, dict[str, Sequence[str]]] = WeakKeyDictionary()


def send(app: Any, extension: Any, event: SentEvent) -> int:
    """Wake the runs that wait for *event*; answer how many there were.

    While there are more, a record stands in the outbox for what is left.
    """
    keep = extension.settings.outbox_keeps
    rest = Rest(_id_of(event), uuid4().hex, _MARK + _adapter.dump_json(event), keep)
    waves = [_wave(app, extension, event, rest)]
    while waves[-1].has_more:
        waves.append(_wave(app, extension, event, rest))
    if len(waves) > 1:
        extension.store.settle(rest.id, rest.token)
    return sum(wave.woken for wave in waves)


def go_on(app: Any, extension: Any, event: SentEvent) -> bool:
    """Send some waves of an event whose sender has died; answer whether that was the last."""
    return any(not _wave(app, extension, event).has_more for _ in range(_MOST_WAVES))


def is_unfinished(body: bytes) -> bool:
    """Whether a record in the outbox is that of an event."""
    return body.startswith(_MARK)


def unpack(body: bytes) -> SentEvent:
    """Read an event; raise RecordError for what ``send`` cannot have staged."""
    try:
        return _adapter.validate_json(body.removeprefix(_MARK))
    except ValidationError as error:
        raise RecordError(f"the event cannot be read: {error}") from error


def _wave(app: Any, extension: Any, event: SentEvent, rest: Rest | None = None) -> Emitted:
    found = _emitted(extension, event, rest)
    while found.unknown_shapes is not None:
        _learn(extension.store, event.name, found.unknown_shapes)
        found = _emitted(extension, event, rest)
    wake(app, extension.store, found.taken)
    return found


def _emitted(extension: Any, event: SentEvent, rest: Rest | None) -> Emitted:
    store: Store = extension.store
    data = from_json(memo.unpack(event.memo).result)["data"]
    known = _shapes.setdefault(store, {}).get(event.name, ())
    now = extension.clock()
    try:
        return store.emit(
            event,
            matching.digests(event.name, data, [NO_SHAPE, *known]),
            now=now,
            until=now + LEASE,
            limit=_LIMIT,
            keep=extension.settings.event_retention,
            rest=rest,
        )
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        raise StoreError(f"event {event.name!r} finds no store: {text_of(error)}") from error


def _learn(store: Store, name: str, shapes: Sequence[str]) -> None:
    names = _shapes.setdefault(store, {})
    if len(names) >= _MOST_NAMES:
        names.clear()
    names[name] = list(shapes)


def _id_of(event: SentEvent) -> RunId:
    return RunId(f"event:{event.id}")
