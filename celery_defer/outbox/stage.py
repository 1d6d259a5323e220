"""What a run has deferred is staged, out of reach of a crash, before its result is stored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any
from uuid import uuid4

from billiard.exceptions import SoftTimeLimitExceeded
from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend

from celery_defer.model import Call, CallState, Outcome, Record
from celery_defer.outbox import links
from celery_defer.outbox import records as record
from celery_defer.outbox.boarding import Boarding, connection_of, open_gate
from celery_defer.run.scope import Scope, Staged

__all__ = [
    "forget",
    "has_succeeded",
    "link_again",
    "record_of",
    "send",
    "stage",
    "stay_behind",
]

logger = logging.getLogger(__name__)

_DAY = 86_400.0
# A larger record might be more than Redis takes; it must not take the result with it.
_LARGE = 256 * 1024


def stage(parent: Scope, outcome: Outcome, answer: object = None) -> None:
    """Keep what the run has deferred where a crash does not reach it, and link it meanwhile.

    Celery stores the result next: so a stored SUCCESS means that the record is there. Nothing
    that fails here may change what the body has achieved, so it is logged; but a soft time
    limit is raised wherever the run is, and ends it as it would without us.
    """
    wait = _begin(parent, outcome)
    try:
        if outcome is Outcome.SUCCESS:
            _link_safely(parent, answer)
    finally:  # the reply has a connection, which another run would wait for
        if wait is not None:
            _wait_safely(parent, wait)


def stay_behind(parent: Scope) -> None:
    """Stage a record for which no result was stored: Celery keeps a SUCCESS that is there."""
    boarding, parent.boarding = parent.boarding, None
    if boarding is None or boarding.has_gone or parent.staged is None:
        return
    try:
        send(parent, parent.staged, _after_grace(parent, parent.staged))()
    except Exception:
        _log_unstaged(parent)


def forget(parent: Scope) -> None:
    """Remove the record of an earlier attempt, which a crash has left."""
    if parent.store is None or parent.is_eager:
        return
    try:
        parent.store.settle(parent.run.id, None)
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        logger.exception("run %s: the record of an earlier attempt stays", parent.run.id)


def has_succeeded(parent: Scope) -> bool:
    """Whether a SUCCESS of the run is stored."""
    try:
        return _keeps_result(parent) and parent.task.AsyncResult(parent.run.id).successful()
    except Exception:  # the result backend is away
        logger.exception("the result of run %s cannot be read", parent.run.id)
        return False


def link_again(parent: Scope, calls: Iterable[Call]) -> None:
    """Link what was published at once in earlier turns of the run."""
    try:
        links.link_again(parent, [call for call in calls if call.state is CallState.PUBLISHED])
    except Exception:
        logger.exception("run %s (%s): its links are not stored", parent.run.id, parent.run.task)


def record_of(parent: Scope, verdict: Outcome | None) -> Record:
    """Answer what the run has deferred, as a record of the outbox."""
    return Record(
        parent=parent.run.id,
        root=parent.run.root_id,
        task=parent.run.task,
        depth=parent.run.depth,
        verdict=verdict,
        at=parent.now(),
        inherited=_inherited(parent),
        calls=tuple(parent.buffered()),
    )


def send(parent: Scope, kept: Staged, due: float) -> Callable[[], None]:
    """Send a record to the store; answer the wait for its reply."""
    assert parent.store is not None  # noqa: S101
    body = record.pack(kept.record)
    return parent.store.stage(kept.id, kept.token, body, due, _keeps(parent))


# -- private ------------------------------------------------------------------------------


def _begin(parent: Scope, outcome: Outcome) -> Callable[[], None] | None:
    if parent.store is None or parent.is_eager:
        return None
    verdict = None if _keeps_result(parent) else outcome
    parent.staged = kept = Staged(parent.run.id, uuid4().hex, record_of(parent, verdict))
    try:
        if _may_board(kept.record) and _boards(parent, kept):
            return None
        return send(parent, kept, due=_after_grace(parent, kept))
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        _log_unstaged(parent)
        return None


def _may_board(kept: Record) -> bool:
    """Whether nothing is lost if the record is not there before the result.

    Celery may store a failure for a process that it has lost in between; what waits for that
    is to be known then.
    """
    return kept.verdict is None and all(call.options.when == "success" for call in kept.calls)


def _boards(parent: Scope, kept: Staged) -> bool:
    """Whether the record goes with the result, which Celery stores in the same Redis next."""
    backend = parent.task.backend
    connection = connection_of(backend)
    if connection is None or parent.store is None:
        return False
    body, due, keep = record.pack(kept.record), _after_grace(parent, kept), _keeps(parent)
    if len(body) > _LARGE:
        return False
    put = parent.store.stage_in(connection, kept.id, kept.token, body, due=due, keep=keep)
    if put is None:
        return False
    open_gate(backend)
    parent.boarding = Boarding(backend.get_key_for_task(parent.run.id), put)
    return True


def _wait_safely(parent: Scope, wait: Callable[[], None]) -> None:
    try:
        wait()
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        _log_unstaged(parent)


def _log_unstaged(parent: Scope) -> None:
    parent.staged = None
    logger.exception(
        "run %s (%s): the store is away, so what the run deferred is published from memory; "
        "a crash of this worker now would lose it",
        parent.run.id,
        parent.run.task,
    )


def _link_safely(parent: Scope, answer: object) -> None:
    try:
        if not links.will_be_stored(parent, answer):
            return
        starting = [c for c in parent.buffered() if Outcome.SUCCESS.starts(c.options.when)]
        links.link(parent, starting[: links.MAX_LINKS])
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        logger.exception("run %s (%s): its links are not stored", parent.run.id, parent.run.task)


def _keeps_result(parent: Scope) -> bool:
    """Whether another process can read how the parent ended."""
    ignored = parent.request.get("ignore_result")
    if parent.task.ignore_result if ignored is None else ignored:
        return False
    return not isinstance(parent.task.backend, DisabledBackend | RPCBackend)


def _inherited(parent: Scope) -> dict[str, Any]:
    """What Celery hands down from a run to the tasks that it sends."""
    inherited: dict[str, Any] = {}
    priority = (parent.request.get("delivery_info") or {}).get("priority")
    if parent.app.conf.task_inherit_parent_priority and priority is not None:
        inherited["priority"] = priority
    if stamped := parent.request.get("stamped_headers"):
        stamps = parent.request.get("stamps") or {}
        inherited.update({name: stamps.get(name) for name in stamped}, stamped_headers=stamped)
    return inherited


def _keeps(parent: Scope) -> float:
    # Longer than the relay waits, so that it is the relay that gives up, and says so.
    return parent.settings.outbox_keeps + _DAY


def _after_grace(parent: Scope, kept: Staged) -> float:
    return kept.record.at + parent.settings.grace
