"""The way out: what a run has deferred is linked, staged, published, settled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from time import time
from typing import Any
from uuid import uuid4

from celery.app.task import Context
from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend
from pydantic_core import from_json

from celery_defer import broker, record
from celery_defer.batch import Ride
from celery_defer.broker import Message
from celery_defer.envelope import seal
from celery_defer.ids import RunId, run_id
from celery_defer.model import HEADER, Call, CallState, Outcome, Record
from celery_defer.scope import Scope, Staged
from celery_defer.store import Store

__all__ = [
    "MAX_LINKS",
    "Delivery",
    "deliver",
    "publish",
    "publish_now",
    "stage",
    "unlink",
    "withdraw",
    "withdraw_from",
]

logger = logging.getLogger(__name__)

#: A result carries its children wherever it goes, 56 bytes each; the rest are linked
#: by the `parent_id` of their own results alone.
MAX_LINKS = 1_000

#: Owns the runs that must not start; no publication has this token.
ABORTED_OWNER = "aborted"

_OURS = {"when", "experiment", "headers"}
_EVENTS = {CallState.SKIPPED: "task-skipped", CallState.ABORTED: "task-aborted"}
# A run that is refused thousands of calls has made one mistake, not thousands.
_MAX_TOLD = 100


# -- after the body, before Celery stores the result ------------------------------------


def unlink(parent: Scope, error: BaseException, traceback: str) -> None:
    """Take the children back from a parent whose result turned into a failure after its body."""
    links = {run_id(parent.run.id, call.id) for call in parent.buffered()}
    request = parent.task.request
    request.children[:] = [child for child in request.children if child.id not in links]
    if links and parent.app.AsyncResult(parent.run.id).failed():
        parent.task.backend.store_result(
            parent.run.id, error, "FAILURE", traceback=traceback, request=request
        )


def stage(parent: Scope, outcome: Outcome) -> None:
    """Keep what the run has deferred where a crash does not reach it, and link it meanwhile.

    Celery stores the result next: so a stored SUCCESS means that the record is there. Nothing
    that fails here may change what the body has achieved, so it is logged.
    """
    wait = _begin(parent, outcome)
    if outcome is Outcome.SUCCESS:
        _link_safely(parent)
    if wait is None:
        return
    try:
        wait()
    except Exception:
        _log_unstaged(parent)


def _begin(parent: Scope, outcome: Outcome) -> Callable[[], None] | None:
    if parent.store is None or parent.is_eager:
        return None
    parent.staged = kept = Staged(_record(parent, outcome), uuid4().hex)
    try:
        return _stage(parent, parent.run.id, kept, due=kept.record.at + parent.settings.grace)
    except Exception:
        _log_unstaged(parent)
        return None


def _log_unstaged(parent: Scope) -> None:
    parent.staged = None
    logger.exception(
        "run %s (%s): the store is away, so what the run deferred is published from memory; "
        "a crash of this worker now would lose it",
        parent.run.id,
        parent.run.task,
    )


def _link_safely(parent: Scope) -> None:
    try:
        starting = [c for c in parent.buffered() if Outcome.SUCCESS.starts(c.options.when)]
        _link(parent, starting[:MAX_LINKS])
    except Exception:
        logger.exception("run %s (%s): its links are not stored", parent.run.id, parent.run.task)


# -- after Celery has stored the result -------------------------------------------------


def publish(parent: Scope, outcome: Outcome) -> None:
    """Publish what waits for *outcome*, the end of the parent's run, and settle its record."""
    kept = parent.staged or Staged(_record(parent, outcome), uuid4().hex)
    if parent.is_eager:
        _run_inline(_messages(parent.app, kept.record, outcome, kept.token))
    else:
        _deliver_and_settle(parent, kept, outcome)
    for call in _left_no_run(parent):
        _tell(parent, call)


def publish_now(parent: Scope, call: Call) -> None:
    """Publish one call at once, whatever becomes of its parent."""
    alone = replace(_record(parent, Outcome.SUCCESS), calls=(call,), is_judged=False)
    kept = Staged(alone, uuid4().hex)
    _link(parent, [call])
    if parent.is_eager:
        _run_inline(_messages(parent.app, alone, Outcome.SUCCESS, kept.token))
        return
    done = deliver(parent.app, alone, Outcome.SUCCESS, kept.token)
    if done.unsent and parent.store is not None:
        _stage(parent, run_id(parent.run.id, call.id), kept, due=alone.at)()
    else:
        _log_lost(parent, done)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of publishing a record: the calls that no broker will take, and those left."""

    refused: tuple[Call, ...] = ()
    unsent: tuple[Call, ...] = ()
    is_settled: bool = False

    @property
    def reason(self) -> str:
        """What is wrong with the calls that no broker will take."""
        return "cannot be published: " + ", ".join(f"{c.id!r} ({c.task})" for c in self.refused)


def deliver(
    app: Any,
    kept: Record,
    outcome: Outcome,
    token: str,
    *,
    is_durable: bool = False,
    ride: Ride = lambda _: False,
) -> Delivery:
    """Publish the calls of a record that wait for *outcome*.

    *token* goes with each message; two messages of one run that bear different ones are
    duplicates, of which one will run. *ride* goes with the messages if all of them go, and
    if their broker can take it.
    """
    known = app.tasks
    unknown = [call for call in _starting(kept, outcome) if call.task not in known]
    messages = _messages(app, kept, outcome, token)
    with_them: Ride = ride if not unknown else lambda _: False
    sent = broker.send(app, messages, is_durable=is_durable, ride=with_them)
    return Delivery(
        refused=(*unknown, *(message.call for message in sent.refused)),
        unsent=tuple(message.call for message in sent.unsent),
        is_settled=sent.has_taken_along,
    )


def withdraw_from(parent: Scope, defer_id: str) -> bool:
    """Do what ``withdraw`` does, where the parent's run is in this process and has a store."""
    if parent.store is None:
        return False
    keep = parent.settings.claim_keeps
    return withdraw(parent.app, parent.store, keep, parent.run.id, defer_id)


def withdraw(app: Any, store: Store, keep: float, parent_id: str, defer_id: str) -> bool:
    """Make sure that a deferred run never starts; False if it has started."""
    id = run_id(parent_id, defer_id)
    claim = store.claim(id, ABORTED_OWNER, keep)
    if claim.is_new:
        request = Context({"id": id, "parent_id": parent_id})
        outcome = {"defer_id": defer_id, "reason": None}
        app.backend.store_result(id, outcome, CallState.ABORTED.value, request=request)
    return claim.owner == ABORTED_OWNER


# -- private ------------------------------------------------------------------------------


def _link(parent: Scope, calls: Iterable[Call]) -> None:
    if parent.task.trail:
        result, id = parent.app.AsyncResult, parent.run.id
        parent.task.request.children.extend(result(run_id(id, call.id)) for call in calls)


def _record(parent: Scope, outcome: Outcome) -> Record:
    return Record(
        parent=parent.run.id,
        root=parent.run.root_id,
        task=parent.run.task,
        depth=parent.run.depth,
        outcome=outcome,
        is_judged=_keeps_result(parent),
        at=time(),
        inherited=_inherited(parent),
        calls=tuple(parent.buffered()),
    )


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


def _stage(parent: Scope, id: RunId, kept: Staged, due: float) -> Callable[[], None]:
    assert parent.store is not None  # noqa: S101
    return parent.store.stage(
        id, kept.token, record.pack(kept.record), due, parent.settings.result_expires
    )


def _deliver_and_settle(parent: Scope, kept: Staged, outcome: Outcome) -> None:
    id, store = parent.run.id, parent.store
    if store is None or parent.staged is None:
        _log_lost(parent, deliver(parent.app, kept.record, outcome, kept.token))
        return
    done = deliver(
        parent.app,
        kept.record,
        outcome,
        kept.token,
        is_durable=True,
        ride=lambda pipeline: store.settle_in(pipeline, id, kept.token),
    )
    if done.unsent:
        logger.warning("run %s: %d calls wait in the outbox", id, len(done.unsent))
        _leave_to_relay(parent, store, kept, outcome)
    elif not done.is_settled:
        _settle(parent, store, kept, done)


def _leave_to_relay(parent: Scope, store: Store, kept: Staged, outcome: Outcome) -> None:
    """Keep the parent's end with the record: its result may expire before the broker is back."""
    judged = replace(kept.record, outcome=outcome, is_judged=False)
    try:
        due = time() + parent.settings.grace
        store.postpone(parent.run.id, kept.token, due, record.pack(judged))
    except Exception:
        logger.exception("run %s: the store is away too; the relay reads the result", parent.run.id)


def _settle(parent: Scope, store: Store, kept: Staged, done: Delivery) -> None:
    try:
        if done.refused:
            keep = parent.settings.result_expires
            store.quarantine(parent.run.id, kept.token, done.reason, keep)
        else:
            store.settle(parent.run.id, kept.token)
    except Exception:  # the relay publishes once more; what has started does not start again
        logger.exception("run %s: its record cannot be settled", parent.run.id)


def _starting(kept: Record, outcome: Outcome) -> list[Call]:
    return [call for call in kept.calls if outcome.starts(call.options.when)]


def _messages(app: Any, kept: Record, outcome: Outcome, token: str) -> list[Message]:
    tasks = app.tasks
    starting = [call for call in _starting(kept, outcome) if call.task in tasks]
    return [_message(kept, call, tasks[call.task], token) for call in starting]


def _message(kept: Record, call: Call, task: Any, token: str) -> Message:
    args, kwargs = from_json(call.payload)
    given = call.options.model_dump(exclude_none=True, exclude=_OURS)
    options = {
        **kept.inherited,
        **given,
        "headers": {**(call.options.headers or {}), HEADER: seal(call, kept, token)},
        "parent_id": kept.parent,
        "root_id": kept.root,
    }
    return Message(call, run_id(kept.parent, call.id), task, tuple(args), kwargs, options)


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


def _log_lost(parent: Scope, done: Delivery) -> None:
    for call in (*done.refused, *done.unsent):
        logger.error(
            "defer %r of run %s (%s) is lost: %s could not be published as %s",
            call.id,
            parent.run.id,
            parent.run.task,
            call.task,
            run_id(parent.run.id, call.id),
        )


# -- calls that left no run ---------------------------------------------------------------


def _left_no_run(parent: Scope) -> list[Call]:
    aborted = [call for call in parent.calls.values() if call.state is CallState.ABORTED]
    refused = [call for call in parent.skipped if call.id not in parent.calls]
    return [*aborted, *refused][:_MAX_TOLD]


def _tell(parent: Scope, call: Call) -> None:
    """Tell of a call under the id that its run would have had: in the backend, in Flower."""
    try:
        if not parent.is_eager or parent.task.store_eager_result:
            _store_state(parent, call)
        if not parent.is_eager:
            _show(parent, call)
    except Exception:  # the calls that do run are on their way
        logger.exception(
            "defer %r of run %s is %s, which could not be recorded",
            call.id,
            parent.run.id,
            call.state.value,
        )


def _store_state(parent: Scope, call: Call) -> None:
    request = Context({"id": run_id(parent.run.id, call.id), "task": call.task, **_kin(parent)})
    outcome = {"defer_id": call.id, "reason": call.reason}
    parent.app.backend.store_result(request.id, outcome, call.state.value, request=request)


def _show(parent: Scope, call: Call) -> None:
    child = {"uuid": run_id(parent.run.id, call.id), "name": call.task, **_kin(parent)}
    hostname = parent.request.get("hostname")
    with parent.app.events.default_dispatcher(hostname=hostname) as events:
        # `task-sent` makes the link on the parent's page; a state of its own ends the story.
        events.send("task-sent", **child, args="()", kwargs="{}")
        events.send(_EVENTS[call.state], **child, result=call.reason or call.id)


def _kin(parent: Scope) -> dict[str, Any]:
    return {"parent_id": parent.run.id, "root_id": parent.run.root_id}
