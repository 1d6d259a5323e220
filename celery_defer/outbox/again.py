"""The message of a run that has ended, made anew from its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from secrets import token_hex
from typing import Any

from celery.backends.base import DisabledBackend

from celery_defer import encoding
from celery_defer.errors import RestartError
from celery_defer.ids import RunId
from celery_defer.model import HEADER
from celery_defer.outbox.parked import ParkedRun
from celery_defer.run import DeferHeader
from celery_defer.store import History, Store

_DEEPEST = 100

#: A task's name, and its arguments.
_Called = tuple[str, Sequence[Any], Mapping[str, Any]]


def run_again(extension: Any, id: RunId) -> ParkedRun:
    """Return a run as it was called; raise RestartError if its arguments are not recorded."""
    store: Store = extension.store
    (history,) = store.histories([id])
    about = encoding.loads(encoding.lengthen(history.about)) if history else {}
    shows = extension.settings.record_payloads is True
    task, args, kwargs = _recorded(about) if shows and "a" in about else _stored(extension.app, id)
    parent = about.get("p")
    options = {"root_id": about.get("r") or parent or id}
    if parent:
        options["parent_id"] = parent
    headers = {HEADER: _header(store, history, about)} if history and _is_deferred(about) else {}
    return ParkedRun(id, task, 0, args, kwargs, options=options, headers=headers)


def _is_deferred(about: Mapping[str, Any]) -> bool:
    """Whether it is the run of a call, or of a batch of calls."""
    return bool(about.get("d") or about.get("m"))


def _recorded(about: Mapping[str, Any]) -> _Called:
    args, kwargs = about["a"]
    return about["t"], args, kwargs


def _stored(app: Any, id: RunId) -> _Called:
    """Return what Celery has stored of a run with its result."""
    has_results = not isinstance(app.backend, DisabledBackend)
    result = app.AsyncResult(id)
    if (
        has_results
        and result.name
        and isinstance(result.args, list | tuple)
        and isinstance(result.kwargs, dict)
    ):
        return result.name, result.args, result.kwargs
    raise RestartError(
        f"run {id} cannot be restarted, because nobody knows its arguments: the record of a "
        "deferred run has them, up to 16 KiB, unless defer_record_payloads hides them; the result "
        "of any run has them with result_extended = True"
    )


def _header(store: Store, history: History, about: Mapping[str, Any]) -> dict[str, Any]:
    parents = _parents(store, about.get("p"))
    return DeferHeader(
        defer_id=about.get("d", ""),
        parent_task=str(parents[0].get("t", "")) if parents else "",
        when=about.get("w", "success"),
        experiment=None,
        at=history.deferred,
        depth=max(len(parents), 1),
        token=token_hex(4),
        step=about["d"] if about.get("s") else None,
        batch=len(about.get("m", ())),
        tags=about.get("g") or {},
        experiments={
            name: (taken[0], RunId(taken[1] if len(taken) > 1 else about.get("p", "")))
            for name, taken in (about.get("v") or {}).items()
        },
    ).pack()


def _parents(store: Store, parent: str | None) -> list[Mapping[str, Any]]:
    """Return what is known of the runs above a run, the nearest first."""
    parents: list[Mapping[str, Any]] = []
    while parent and len(parents) < _DEEPEST:
        (history,) = store.histories([RunId(parent)])
        about = encoding.loads(encoding.lengthen(history.about)) if history else {}
        parents.append(about)
        parent = about.get("p")
    return parents
