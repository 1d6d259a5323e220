"""What the result backend is told of a run while it has no result: that it waits, or goes on."""

from __future__ import annotations

import os
from typing import Any

from celery.app.task import Context
from celery.backends.redis import RedisBackend
from celery.states import STARTED

from celery_defer.scope import Scope
from celery_defer.store import Told

__all__ = ["is_told", "started", "tell_started"]


def is_told(run: Scope) -> bool:
    """Whether it is for us to tell that a run has started again: Celery does so or not."""
    return not (run.task.track_started or run.ignores_result)


def tell_started(run: Scope) -> None:
    """Tell that the run is at work again."""
    _store_started(run, run.task.backend)


def started(run: Scope) -> Told | None:
    """Answer what ``tell_started`` would write; None where that is not one write to a Redis."""
    if type(run.task.backend) is not RedisBackend:
        return None
    backend: Any = run.task.backend
    written: list[tuple[Any, Any]] = []
    draft = _deaf_copy(backend)
    draft.get = lambda _: None
    draft.set = lambda key, value: written.append((key, value))
    _store_started(run, draft)
    if len(written) != 1:
        return None
    [(key, value)] = written
    return Told(backend.client.connection_pool.connection_kwargs, key, value, backend.expires)


def _store_started(run: Scope, backend: Any) -> None:
    meta = {"pid": os.getpid(), "hostname": run.request.get("hostname")}
    backend.store_result(run.run.id, meta, STARTED, request=Context(dict(run.request)))


def _deaf_copy(backend: Any) -> Any:
    """Answer a backend that may be given another ``get`` and ``set``.

    celery.backends.base.BaseKeyValueStoreBackend._store_result uses no more of it. What it reads
    first is whether a SUCCESS is there, which a run that has just been woken does not have.
    """
    copy = object.__new__(type(backend))
    vars(copy).update(vars(backend))
    return copy
