"""Calls that left no run: told of under the ids that their runs would have had."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from celery.app.task import Context

from celery_defer.broker import publish as broker
from celery_defer.ids import run_id
from celery_defer.model import Call, CallState
from celery_defer.run.scope import Scope

__all__ = ["tell"]

logger = logging.getLogger(__name__)

_EVENTS = {CallState.SKIPPED: "task-skipped", CallState.ABORTED: "task-aborted"}
# A run that is refused thousands of calls has made one mistake, not thousands.
_MAX_TOLD = 100


def tell(parent: Scope) -> None:
    """Tell of the calls that a run has skipped or aborted: in the result backend, in Flower.

    Stops at the first that cannot be told of: each further try would hold the worker as long.
    """
    calls = _left_no_run(parent)
    try:
        if calls and (not parent.is_eager or parent.task.store_eager_result):
            _store(parent, calls)
        if calls and not parent.is_eager and broker.is_there(parent.app):
            _show(parent, calls)
    except Exception:  # the calls that do run are on their way
        logger.exception(
            "run %s (%s): what it skipped or aborted could not be recorded",
            parent.run.id,
            parent.run.task,
        )


def _left_no_run(parent: Scope) -> list[Call]:
    aborted = [call for call in parent.calls.values() if call.state is CallState.ABORTED]
    refused = [call for call in parent.skipped if call.id not in parent.calls]
    return [*aborted, *refused][:_MAX_TOLD]


def _store(parent: Scope, calls: Iterable[Call]) -> None:
    for call in calls:
        request = Context({"id": run_id(parent.run.id, call.id), "task": call.task, **_kin(parent)})
        outcome = {"defer_id": call.id, "reason": call.reason}
        parent.app.backend.store_result(request.id, outcome, call.state.value, request=request)


def _show(parent: Scope, calls: Iterable[Call]) -> None:
    hostname = parent.request.get("hostname")
    with parent.app.events.default_dispatcher(hostname=hostname) as events:
        for call in calls:
            child = {"uuid": run_id(parent.run.id, call.id), "name": call.task, **_kin(parent)}
            # `task-sent` makes the link on the parent's page; a state of its own ends the story.
            events.send("task-sent", **child, args="()", kwargs="{}")
            events.send(_EVENTS[call.state], **child, result=call.reason or call.id)


def _kin(parent: Scope) -> dict[str, Any]:
    return {"parent_id": parent.run.id, "root_id": parent.run.root_id}
