"""What is told of a run while it has no result: that it waits, or goes on."""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from typing import Any

from celery.app.task import Context
from celery.backends.redis import RedisBackend
from celery.exceptions import SoftTimeLimitExceeded
from celery.states import STARTED

from celery_defer.scope import Scope
from celery_defer.store import Told
from celery_defer.waits import WAITING, Wait

__all__ = ["lifetime", "show_started", "show_waiting", "started"]

logger = logging.getLogger(__name__)


def show_waiting(run: Scope, step: str, wait: Wait) -> None:
    """Tell the result backend and Flower, before the run may be woken."""
    if not run.ignores_result:
        meta = {"step": step, "waiting_for": wait.kind, **wait.about, "until": wait.shown}
        try:
            run.task.backend.store_result(run.run.id, meta, WAITING, request=run.task.request)
            _keep_result(run, wait)
        except SoftTimeLimitExceeded:
            raise
        except Exception:
            logger.exception("run %s: its state does not tell that it waits", run.run.id)
    if run.task.send_events:
        try:
            told = f"waiting: {wait.kind} at step {step!r} until {wait.shown}"
            run.task.send_event("task-waiting", result=told, eta=wait.shown)
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
    if not _is_told(run) or type(run.task.backend) is not RedisBackend:
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


def lifetime(expires: Any) -> float | None:
    """Answer for how many seconds results live by a setting of Celery."""
    # That of the database backend is a timedelta.
    return expires.total_seconds() if isinstance(expires, timedelta) else expires


def _keep_result(run: Scope, wait: Wait) -> None:
    """Let the stored state outlive the wait: a client may be in ``get()`` all the time.

    celery.backends.base.KeyValueStoreBackend.expire; other backends keep what is not ready.
    """
    backend = run.task.backend
    expires = lifetime(getattr(backend, "expires", None))
    longest = wait.until - run.now()
    if expires and longest > expires / 2 and hasattr(backend, "get_key_for_task"):
        backend.expire(backend.get_key_for_task(run.run.id), int(longest + expires))


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
