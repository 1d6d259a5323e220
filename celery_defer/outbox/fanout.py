"""An event on its way to all who wait for it: some at a time, which any relay goes on with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from pydantic_core import from_json

from celery_defer.ids import RunId
from celery_defer.outbox import records
from celery_defer.outbox.records import FanOut
from celery_defer.outbox.wake import LEASE, wake
from celery_defer.run import Memo
from celery_defer.store import NO_SHAPE, Emitted, Rest, SentEvent, Store, digests

# So many runs are woken by one look into the store.
_LIMIT = 500
# So many times a relay goes on with one event before it looks after other records.
_MOST_TIMES = 20
# Names of which the shapes are remembered.
_MOST_NAMES = 1_000

_shapes: WeakKeyDictionary[Any, dict[str, Sequence[str]]] = WeakKeyDictionary()


def fan_out(app: Any, extension: Any, event: SentEvent) -> int:
    """Wake the runs that wait for *event*; return how many there were.

    While there are more, a record stands in the outbox for what is left.
    """
    body = records.pack(FanOut(event))
    rest = Rest(RunId(f"event:{event.id}"), uuid4().hex, body, extension.settings.outbox_keeps)
    parts = [_part(app, extension, event, rest)]
    while parts[-1].has_more:
        parts.append(_part(app, extension, event, rest))
    if len(parts) > 1:
        extension.store.settle(rest.id, rest.token)
    return sum(part.woken for part in parts)


def go_on(app: Any, extension: Any, event: SentEvent) -> bool:
    """Go on with an event whose sender has died; return whether it has reached all."""
    return any(not _part(app, extension, event).has_more for _ in range(_MOST_TIMES))


def _part(app: Any, extension: Any, event: SentEvent, rest: Rest | None = None) -> Emitted:
    emitted = _emit(extension, event, rest)
    while emitted.unknown_shapes is not None:
        _learn(extension.store, event.name, emitted.unknown_shapes)
        emitted = _emit(extension, event, rest)
    if emitted.leased:
        wake(app, extension.store, emitted.leased)
    return emitted


def _emit(extension: Any, event: SentEvent, rest: Rest | None) -> Emitted:
    store: Store = extension.store
    data = from_json(Memo.unpack(event.memo).result)["data"]
    shapes = _shapes.setdefault(store, {}).get(event.name, ())
    now = extension.clock()
    return store.emit(
        event,
        digests(event.name, data, [NO_SHAPE, *shapes]),
        now=now,
        until=now + LEASE,
        limit=_LIMIT,
        keep=extension.settings.event_retention,
        rest=rest,
    )


def _learn(store: Store, name: str, shapes: Sequence[str]) -> None:
    names = _shapes.setdefault(store, {})
    if len(names) >= _MOST_NAMES:
        names.clear()
    names[name] = list(shapes)
