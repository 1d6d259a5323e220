"""What is told of a run while it has no result: that it waits, or goes on."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from celery.app.task import Context
from celery.backends.redis import RedisBackend
from celery.exceptions import SoftTimeLimitExceeded
from celery.states import STARTED

from celery_defer.model import WAITING
from celery_defer.run.scope import Scope
from celery_defer.store import Told

__all__ = ["lifetime", "send_waiting", "show_started", "show_waiting", "started", "waiting"]

logger = logging.getLogger(__name__)


def show_waiting(run: Scope, meta: Mapping[str, Any], until: float) -> None:
    """Tell whoever reads results, before the run may be woken."""
    if run.ignores_result:
        return
    try:
        _store_waiting(run, run.task.backend, meta)
        _keep_result(run, until)
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        logger.exception("run %s: its state does not tell that it waits", run.run.id)


def waiting(run: Scope, meta: Mapping[str, Any], until: float) -> Told | None:
    """Answer what ``show_waiting`` would write; None where that is not one write to a Redis."""
    if run.ignores_result:
        return None
    told = _drafted(run, lambda backend: _store_waiting(run, backend, meta))
    longest = _lifetime_of(run, until)
    return replace(told, expires=longest) if told and longest else told


def send_waiting(run: Scope, words: str, eta: str | None) -> None:
    """Tell Flower, before the run may be woken."""
    if not run.task.send_events:
        return
    try:
        run.task.send_event("task-waiting", result=words, eta=eta)
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        logger.exception("run %s: no event tells that it waits", run.run.id)


def show_started(run: Scope) -> None:
    """Tell that the run is at work again, where Celery would not by itself."""
    if not _is_told(run):
        return
    try:
        _store_started(run, run.task.backend)
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        logger.exception("run %s: its state is still that it waits", run.run.id)


def started(run: Scope) -> Told | None:
    """Answer what ``show_started`` would write; None where that is not one write to a Redis."""
    if not _is_told(run):
        return None
    return _drafted(run, lambda backend: _store_started(run, backend))


def lifetime(expires: Any) -> float | None:
    """Answer for how many seconds results live by a setting of Celery."""
    # That of the database backend is a timedelta.
    return expires.total_seconds() if isinstance(expires, timedelta) else expires


def _drafted(run: Scope, store: Callable[[Any], None]) -> Told | None:
    """Answer what *store* has the run's backend write."""
    if type(run.task.backend) is not RedisBackend:
        return None
    backend: Any = run.task.backend
    written: list[tuple[Any, Any]] = []
    draft = _deaf_copy(backend)
    draft.get = lambda _: None
    draft.set = lambda key, value: written.append((key, value))
    try:
        store(draft)
    except SoftTimeLimitExceeded:
        raise
    except Exception:  # as it will without the store's help, where that is logged
        return None
    if len(written) != 1:
        return None
    [(key, value)] = written
    return Told(backend.client.connection_pool.connection_kwargs, key, value, backend.expires)


def _store_waiting(run: Scope, backend: Any, meta: Mapping[str, Any]) -> None:
    backend.store_result(run.run.id, dict(meta), WAITING, request=run.task.request)


def _keep_result(run: Scope, until: float) -> None:
    """Let the stored state outlive the wait: a client may be in ``get()`` all the time.

    celery.backends.base.KeyValueStoreBackend.expire; other backends keep what is not ready.
    """
    backend, longest = run.task.backend, _lifetime_of(run, until)
    if longest and hasattr(backend, "get_key_for_task"):
        backend.expire(backend.get_key_for_task(run.run.id), longest)


def _lifetime_of(run: Scope, until: float) -> int | None:
    """Answer for how many seconds a long wait's state must live; None where any will do."""
    expires = lifetime(getattr(run.task.backend, "expires", None))
    longest = until - run.now()
    return int(longest + expires) if expires and longest > expires / 2 else None


def _is_told(run: Scope) -> bool:
    """Whether it is for us to tell that a run has started again: Celery does so or not."""
    return not (run.task.track_started or run.ignores_result)


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
