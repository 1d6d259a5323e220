"""What the result backend says of runs, where their histories do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from functools import partial
from typing import Any

from celery.backends.base import BaseKeyValueStoreBackend, DisabledBackend
from celery.backends.redis import RedisBackend
from celery.states import REVOKED
from celery.utils.time import maybe_iso8601
from pydantic_core import from_json

from celery_defer import guard
from celery_defer.errors import DeferError
from celery_defer.ids import RunId
from celery_defer.model import HELD, WAITING, CallState
from celery_defer.store import RunState, hurry
from celery_defer.views.rows import RunRow

#: Why a call was aborted that has had no run.
WITHDRAWN = "withdrawn before it started"
#: What Celery stores of a run: celery.backends.base.Backend._get_result_meta.
Meta = Mapping[str, Any]

_STATES = {
    "SUCCESS": RunState.SUCCEEDED,
    "FAILURE": RunState.FAILED,
    REVOKED: RunState.ABORTED,
    "STARTED": RunState.RUNNING,
    "RETRY": RunState.RUNNING,
    WAITING: RunState.WAITING,
    HELD: RunState.HELD,
    "REPLACED": RunState.REPLACED,
    CallState.SKIPPED.value: RunState.SKIPPED,
    CallState.ABORTED.value: RunState.ABORTED,
}


def metas(app: Any, runs: Iterable[tuple[RunId, str]]) -> dict[RunId, Meta]:
    """Return what is stored of runs, given with their tasks; a task may have its own backend."""
    by_backend: dict[str, tuple[Any, list[RunId]]] = {}
    for run, task in runs:
        backend = getattr(app.tasks.get(task), "backend", None) or app.backend
        by_backend.setdefault(backend.as_uri(), (backend, []))[1].append(run)
    return {
        id: meta for backend, ids in by_backend.values() for id, meta in _read(backend, ids).items()
    }


def state_of(meta: Meta) -> RunState:
    """Return the state in which Celery has a run."""
    return _STATES.get(str(meta.get("status")), RunState.UNKNOWN)


def finished_of(meta: Meta) -> datetime | None:
    """Return when the result was stored."""
    done = meta.get("date_done")
    moment = maybe_iso8601(done) if isinstance(done, str) else done
    if moment is None:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def reason_of(meta: Meta) -> str | None:
    """Return why a run has failed or was revoked, or a call was skipped or withdrawn."""
    result = meta.get("result")
    if state_of(meta) is RunState.ABORTED:
        return _why_aborted(result)
    if isinstance(result, BaseException):
        return f"{type(result).__name__}: {result}"
    if not isinstance(result, dict):
        return None
    if "exc_type" in result:
        return f"{result['exc_type']}: {_message(result)}"
    return result.get("reason")


def _why_aborted(result: Any) -> str:
    """Return the words with which Celery has revoked a run, such as "terminated"."""
    if isinstance(result, BaseException):
        return str(result)
    if isinstance(result, dict) and "exc_type" in result:
        return _message(result)
    return WITHDRAWN


def _message(result: Mapping[str, Any]) -> str:
    """Return an exception's message; what our own exceptions have besides is in it already."""
    message = result.get("exc_message")
    if not isinstance(message, list | tuple):
        return str(message)
    is_ours = result.get("exc_module") == DeferError.__module__
    return ", ".join(map(str, message[:1] if is_ours else message))


def refused_of(text: str | None) -> Any:
    """Return the payload of a skipped call, as JSON values if it was stored as JSON."""
    values = guard.attempt(lambda: from_json(text or ""))
    return values if isinstance(values, dict) else text


def row_of(id: RunId, meta: Meta) -> RunRow | None:
    """Return what a result alone says of a run; None if there is none."""
    state = state_of(meta)
    if state is RunState.UNKNOWN:
        return None
    result: Any = meta.get("result")
    if state not in (RunState.SKIPPED, RunState.ABORTED) or not isinstance(result, dict):
        result = {}
    return RunRow(
        id,
        str(meta.get("name") or meta.get("task") or ""),
        state,
        defer_id=result.get("defer_id"),
        parent=RunId(meta["parent_id"]) if meta.get("parent_id") else None,
        reason=_reason_alone(meta),
        refused=refused_of(result.get("payload")),
        finished_at=None if state.is_open else finished_of(meta),
    )


def _reason_alone(meta: Meta) -> str | None:
    """Return the reason in a result without a history; workers revoke ids that never ran."""
    reason, knows = reason_of(meta), meta.get("name") or meta.get("parent_id")
    is_bare = meta.get("status") == REVOKED and not knows
    return f"{reason}; nothing else is known of it" if is_bare else reason


def children_of(meta: Meta) -> list[RunId]:
    """Return the ids of the runs that Celery has stored as children."""
    children = meta.get("children") or ()
    # As JSON: [[[id, parent], None], …]; otherwise results.
    ids = (child[0][0] if isinstance(child, list | tuple) else child.id for child in children)
    return [RunId(str(id)) for id in ids]


def _read(backend: Any, ids: list[RunId]) -> dict[RunId, Meta]:
    if isinstance(backend, DisabledBackend):
        return {}
    if isinstance(backend, RedisBackend):
        backend = _hurried(backend)
    if isinstance(backend, BaseKeyValueStoreBackend):
        keys = [backend.get_key_for_task(id) for id in ids]
        bodies = backend.mget(keys)
        if isinstance(bodies, Mapping):  # memcached's, which leaves out what is not there
            bodies = [bodies.get(key) for key in keys]
        read = {id: _decoded(backend, body) for id, body in zip(ids, bodies, strict=True) if body}
    else:
        read = {id: guard.attempt(partial(backend.get_task_meta, id)) for id in ids}
    return {id: meta for id, meta in read.items() if meta}


def _hurried(backend: Any) -> Any:
    """Return a copy of a Redis backend which waits no longer than the store does.

    Celery's own waits for two minutes, and then tries again. It keeps the copy.
    """
    hurried: Any = vars(backend).get("_defer_hurried")
    if hurried is None:
        hurried = object.__new__(type(backend))  # celery.backends.base.Backend pickles itself
        vars(hurried).update({k: v for k, v in vars(backend).items() if k != "client"})
        hurry(hurried.client)
        backend._defer_hurried = hurried
    return hurried


def _decoded(backend: Any, body: Any) -> Meta | None:
    return guard.attempt(lambda: backend.decode(body))
