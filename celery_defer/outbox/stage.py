"""How a run's calls are staged before its result is stored, so that no crash loses them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from celery_defer import guard
from celery_defer.current import extension_of
from celery_defer.model import Call, Outcome
from celery_defer.outbox import history, records
from celery_defer.outbox.records import SPARE, DeferredCalls
from celery_defer.run import Scope, server_of_results, winner_of
from celery_defer.store import Leased

logger = guard.logger(__name__)


def record_of(parent: Scope, verdict: Outcome | None) -> DeferredCalls:
    """Return the run's calls as a record of the outbox."""
    return DeferredCalls(
        parent=parent.run.id,
        root=parent.run.root_id,
        task=parent.run.task,
        depth=parent.run.depth,
        verdict=verdict,
        at=parent.now(),
        inherited=_inherited(parent),
        calls=tuple(parent.buffer.waiting()),
    )


def lease_of(id: Any, record: DeferredCalls, token: str = "") -> Leased:
    """Return the record to stage, with *token* or a new one, leased to the caller."""
    return Leased(id, token or uuid4().hex, records.pack(record), 1)


def stage(
    parent: Scope, lease: Leased, record: DeferredCalls, *, due: float, replaces: bool = True
) -> bool:
    """Stage a record; return False if the record of another attempt stays instead.

    Raises what the store raises.
    """
    assert parent.store is not None  # noqa: S101
    keep = parent.settings.outbox_keeps + SPARE
    return parent.store.stage(
        lease.id, lease.token, lease.body, due, keep,
        replaces=replaces, facts=history.staged(parent, record),
    )  # fmt: skip


def forget(parent: Scope) -> bool:
    """Remove the record that a crashed attempt has left; return False if that attempt succeeded.

    Where no result is kept, the record is the only proof of how that attempt ended, and stays.
    """
    if parent.store is None or parent.is_eager or not parent.keeps_result:
        return True
    if has_succeeded(parent):
        return False
    with guard.logged(logger, "run %s: the record of an earlier attempt stays", parent.run.id):
        parent.store.settle(parent.run.id, None)
    if parent.is_redelivered:  # an attempt that was retried has staged nothing
        forget_calls(parent)
    return True


def forget_calls(parent: Scope, calls: Iterable[Call] = ()) -> None:
    """Let the histories forget what a crashed attempt has staged, but for *calls*."""
    with guard.logged(logger, "run %s: its record has calls that were not made", parent.run.id):
        if parent.store is not None and (facts := history.not_made(parent, parent.store, calls)):
            parent.store.note(facts)


def has_succeeded(parent: Scope) -> bool:
    """Whether a SUCCESS of the run is stored, so that the calls of that attempt are valid.

    Celery keeps a stored SUCCESS, so no later attempt has a result.
    """
    with guard.logged(logger, "the result of run %s cannot be read", parent.run.id):
        return parent.is_judged and (
            parent.task.AsyncResult(parent.run.id).successful()
            or winner_of(parent.task.backend, parent.run.id) is not None
        )
    return False


def names_winner(parent: Scope) -> bool:
    """Whether the stored SUCCESS says which attempt it is of, so that records may stay."""
    if parent.store is None or parent.is_eager or not parent.is_judged:
        return False
    return server_of_results(parent.task.backend) is not None


def _inherited(parent: Scope) -> dict[str, Any]:
    """Return the options that Celery passes on from a run to the tasks that it sends."""
    inherited: dict[str, Any] = {}
    priority = (parent.request.get("delivery_info") or {}).get("priority")
    if priority is not None and extension_of(parent.app).inherits_priority:
        inherited["priority"] = priority
    if stamped := parent.request.get("stamped_headers"):
        stamps = parent.request.get("stamps") or {}
        inherited.update({name: stamps.get(name) for name in stamped}, stamped_headers=stamped)
    return inherited
