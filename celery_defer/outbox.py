"""The way out: links on the parent's result, then one batch of messages to Celery's broker."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from celery.app.task import Context
from pydantic_core import from_json

from celery_defer import broker
from celery_defer.broker import Message
from celery_defer.envelope import seal
from celery_defer.ids import RunId, run_id
from celery_defer.model import HEADER, Call, CallState
from celery_defer.scope import Scope

__all__ = ["MAX_LINKS", "link", "publish", "unlink"]

logger = logging.getLogger(__name__)

#: A result carries its children wherever it goes, 56 bytes each; the rest are linked
#: by the `parent_id` of their own results alone.
MAX_LINKS = 1_000

_EVENTS = {CallState.SKIPPED: "task-skipped", CallState.ABORTED: "task-aborted"}
# A run that is refused thousands of calls has made one mistake, not thousands.
_MAX_RECORDED = 100


def link(parent: Scope) -> None:
    """List the deferred runs as the parent's children, before Celery stores its result."""
    for call in parent.buffered()[:MAX_LINKS]:
        parent.task.add_trail(parent.app.AsyncResult(_id(parent, call)))


def unlink(parent: Scope, error: BaseException, traceback: str) -> None:
    """Take the children back from a parent whose result turned into a failure after its body."""
    links = {_id(parent, call) for call in parent.buffered()}
    request = parent.task.request
    request.children[:] = [child for child in request.children if child.id not in links]
    if links and parent.app.AsyncResult(parent.run.id).failed():
        parent.task.backend.store_result(
            parent.run.id, error, "FAILURE", traceback=traceback, request=request
        )


def publish(parent: Scope) -> None:
    """Publish what a succeeded parent has deferred; run it here if the parent is eager."""
    messages, lost = _addressed(parent)
    if parent.request.get("is_eager"):
        _run_inline(messages)
    elif messages:
        lost += [message.call for message in broker.send(parent.app, messages)]
    for call in lost:
        _log_lost(parent, call)
    for call in _left_no_run(parent):
        _record(parent, call)


def _addressed(parent: Scope) -> tuple[list[Message], list[Call]]:
    """Answer the messages of the buffered calls, and the calls that cannot have one."""
    tasks = parent.app.tasks
    calls = parent.buffered()
    known = [_message(parent, call, tasks[call.task]) for call in calls if call.task in tasks]
    return known, [call for call in calls if call.task not in tasks]


def _message(parent: Scope, call: Call, task: Any) -> Message:
    args, kwargs = from_json(call.payload)
    options = _options(parent, call)
    return Message(call, _id(parent, call), task, tuple(args), kwargs, options)


def _id(parent: Scope, call: Call) -> RunId:
    return run_id(parent.run.id, call.id)


def _options(parent: Scope, call: Call) -> dict[str, Any]:
    given = call.options.model_dump(exclude_none=True, exclude={"when", "experiment", "headers"})
    header = seal(call, parent.run.task, parent.run.depth + 1)
    return {
        **_inherited(parent),
        **given,
        "headers": {**(call.options.headers or {}), HEADER: header},
        **_kin(parent),
    }


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


def _run_inline(messages: Iterable[Message]) -> None:
    for message in messages:
        _apply(message)


def _apply(message: Message) -> None:
    try:
        # Not `throw`: a deferred run that fails never touches its parent.
        message.task.apply(
            message.args, message.kwargs, task_id=message.id, throw=False, **message.options
        )
    except Exception:  # a hook of the task raised: Celery lets that through in eager mode
        logger.exception("deferred run %s (%s) failed", message.id, message.task.name)


def _log_lost(parent: Scope, call: Call) -> None:
    logger.error(
        "defer %r of run %s (%s) is lost: %s could not be published as %s",
        call.id,
        parent.run.id,
        parent.run.task,
        call.task,
        _id(parent, call),
    )


def _left_no_run(parent: Scope) -> list[Call]:
    """The calls that must be told of in another way than by their run."""
    aborted = [call for call in parent.calls.values() if call.state is CallState.ABORTED]
    refused = [call for call in parent.skipped if call.id not in parent.calls]
    return [*aborted, *refused][:_MAX_RECORDED]


def _record(parent: Scope, call: Call) -> None:
    """Tell of a call under the id that its run would have had: in the backend, in Flower."""
    is_eager = parent.request.get("is_eager")
    try:
        if not is_eager or parent.task.store_eager_result:
            _store(parent, call)
        if not is_eager:
            _show(parent, call)
    except Exception:  # the calls that do run are on their way
        logger.exception(
            "defer %r of run %s is %s, which could not be recorded",
            call.id,
            parent.run.id,
            call.state.value,
        )


def _store(parent: Scope, call: Call) -> None:
    request = Context({"id": _id(parent, call), "task": call.task, **_kin(parent)})
    outcome = {"defer_id": call.id, "reason": call.reason}
    parent.app.backend.store_result(request.id, outcome, call.state.value, request=request)


def _show(parent: Scope, call: Call) -> None:
    child = {"uuid": _id(parent, call), "name": call.task, **_kin(parent)}
    hostname = parent.request.get("hostname")
    with parent.app.events.default_dispatcher(hostname=hostname) as events:
        # `task-sent` makes the link on the parent's page; a state of its own ends the story.
        events.send("task-sent", **child, args="()", kwargs="{}")
        events.send(_EVENTS[call.state], **child, result=call.reason or call.id)


def _kin(parent: Scope) -> dict[str, Any]:
    return {"parent_id": parent.run.id, "root_id": parent.run.root_id}
