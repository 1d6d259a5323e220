"""The fan-out of an event: its sender wakes the first runs, and relays the others, in batches."""

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

# Runs that a sender wakes itself, for it has somebody who waits; and that a relay wakes in a batch.
_FIRST_LIMIT = 100
_LIMIT = 500
# Batches of one event before a relay looks at other records.
_MOST_BATCHES = 4
# Event names whose shapes are cached.
_MOST_NAMES = 1_000

_shapes: WeakKeyDictionary[Any, dict[str, Sequence[str]]] = WeakKeyDictionary()


def fan_out(extension: Any, event: SentEvent, keep: float) -> Emitted:
    """Wake the first runs that wait for *event*, which is kept for *keep* seconds.

    If there are more, a record in the outbox stands for the rest: a relay takes it at once.
    """
    body = records.pack(FanOut(event))
    rest = Rest(RunId(f"event:{event.id}"), uuid4().hex, body, extension.settings.outbox_keeps)
    return _batch(extension, event, keep, _FIRST_LIMIT, rest)


def continue_fan_out(extension: Any, event: SentEvent) -> bool:
    """Wake the runs that a sender has left; return whether all are woken."""
    keep = extension.settings.event_retention
    batches = (_batch(extension, event, keep, _LIMIT) for _ in range(_MOST_BATCHES))
    return any(not batch.has_more for batch in batches)


def _batch(
    extension: Any, event: SentEvent, keep: float, limit: int, rest: Rest | None = None
) -> Emitted:
    emitted = _emit(extension, event, keep, limit, rest)
    while emitted.unknown_shapes is not None:
        _learn(extension.store, event.name, emitted.unknown_shapes)
        emitted = _emit(extension, event, keep, limit, rest)
    if emitted.leased:
        wake(extension.app, extension.store, emitted.leased)
    return emitted


def _emit(extension: Any, event: SentEvent, keep: float, limit: int, rest: Rest | None) -> Emitted:
    store: Store = extension.store
    data = from_json(Memo.unpack(event.memo).result)["data"]
    shapes = _shapes.setdefault(store, {}).get(event.name, ())
    now = extension.clock()
    return store.emit(
        event,
        digests(event.name, data, [NO_SHAPE, *shapes]),
        now=now,
        until=now + LEASE,
        limit=limit,
        keep=keep,
        most=extension.settings.max_events,
        rest=rest,
    )


def _learn(store: Store, name: str, shapes: Sequence[str]) -> None:
    names = _shapes.setdefault(store, {})
    if len(names) >= _MOST_NAMES:
        names.clear()
    names[name] = list(shapes)
