"""The messages of a record: of its calls, or of a parked run."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

from celery_defer import encoding
from celery_defer.broker import Message
from celery_defer.contract import deferrable
from celery_defer.ids import RunId, run_id
from celery_defer.model import HEADER, PARENTS, Call, Options, Outcome
from celery_defer.outbox.gathered import GatheredCalls
from celery_defer.outbox.parked import ParkedRun
from celery_defer.outbox.records import DeferredCalls
from celery_defer.run import WAKE, DeferHeader, TraceHeader, WakeHeader, with_waker

_OURS = {"when", "experiment", "headers", "tags"}


def messages_of(app: Any, record: DeferredCalls, outcome: Outcome, token: str) -> list[Message]:
    """Return the messages of the calls that wait for *outcome*, if the app has their task.

    Each carries *token*. Two messages of one run with different tokens are duplicates, of which
    one will run.
    """
    tasks = app.tasks
    calls = [call for call in starting(record, outcome) if call.task in tasks]
    return [_message(app, record, call, tasks[call.task], token) for call in calls]


def unknown_calls(app: Any, record: DeferredCalls, outcome: Outcome) -> frozenset[RunId]:
    """Return the ids of the runs whose task the app does not have."""
    tasks = app.tasks
    return frozenset(
        run_id(record.parent, call.id)
        for call in starting(record, outcome)
        if call.task not in tasks
    )


def starting(record: DeferredCalls, outcome: Outcome) -> list[Call]:
    """Return the calls that wait for *outcome*."""
    return [call for call in record.calls if outcome.starts(call.options.when)]


def wake_up(run: ParkedRun, token: str) -> Message:
    """Return the message that wakes a parked run; *token* names this publication."""
    options = dict(run.options)
    starts, retries = run.held.starts, options.get("retries") or 0
    header = WakeHeader(run.turn, token, starts, retries).pack()
    return Message(
        id=run.id,
        task=run.task,
        args=run.args,
        kwargs=run.kwargs,
        root_id=options.pop("root_id", None) or run.id,
        parent_id=options.pop("parent_id", None),
        headers={**with_waker(run.headers), WAKE: header},
        options=options,
        # A place is reserved for it, which nobody has while it waits behind others.
        goes_first=run.held.is_held,
    )


def message_of_batch(app: Any, batch: GatheredCalls, token: str) -> Message:
    """Return the message of a batch: the list of payloads, and after them who their parents are."""
    task, contract = app.tasks[batch.task], deferrable(app.tasks[batch.task]).contract
    parents = [
        [call.parent, call.parent_task, call.defer_id, call.when, call.experiment]
        for call in batch.calls
    ]
    values = [*(call.value for call in batch.calls), to_json({PARENTS: parents})]
    payload = contract.layout.carry(b",".join(values), 0)
    args, kwargs = encoding.read(payload)
    return Message(
        id=batch.id,
        task=batch.task,
        args=args,
        kwargs=kwargs,
        root_id=batch.id,
        parent_id=None,
        headers={**(batch.options.headers or {}), HEADER: _header_of_batch(batch, token).pack()},
        options={"reply_to": app.thread_oid, **_set_options(batch.options)},
        target=task,
        payload=payload,
    )


def _header_of_batch(batch: GatheredCalls, token: str) -> DeferHeader:
    first, *rest = batch.calls
    tags = first.tags.items()
    return DeferHeader(
        defer_id="",
        parent_task="",
        when="success",
        experiment=None,
        at=min(call.at for call in batch.calls),
        depth=max(call.depth for call in batch.calls) + 1,
        token=token,
        tags={key: tag for key, tag in tags if all(call.tags.get(key) == tag for call in rest)},
        batch=len(batch.calls),
    )


def _message(app: Any, record: DeferredCalls, call: Call, task: Any, token: str) -> Message:
    args, kwargs = encoding.read(call.payload)
    inherited = record.inherited
    if task.priority is not None:  # the task's own precedes its parent's
        inherited = {name: value for name, value in inherited.items() if name != "priority"}
    return Message(
        id=run_id(record.parent, call.id),
        task=call.task,
        args=args,
        kwargs=kwargs,
        root_id=record.root,
        parent_id=record.parent,
        headers=_headers(record, call, token),
        options={"reply_to": app.thread_oid, **inherited, **_set_options(call.options)},
        target=task,
        payload=call.payload,
    )


def _headers(record: DeferredCalls, call: Call, token: str) -> dict[str, Any]:
    own = {HEADER: _header(record, call, token).pack()}
    if call.trace:
        own |= TraceHeader(call.trace).pack()
    return {**(call.options.headers or {}), **own}


def _header(record: DeferredCalls, call: Call, token: str) -> DeferHeader:
    return DeferHeader(
        defer_id=call.step or call.id,
        parent_task=record.task,
        when=call.options.when,
        experiment=call.options.experiment,
        at=call.at,
        depth=record.depth + 1,
        token=token,
        step=call.step,
        tags=call.tags,
        experiments=call.experiments,
    )


def _set_options(options: Options) -> dict[str, Any]:
    """Return the publishing options that the call has set."""
    if not options.model_fields_set:
        return {}
    items = ((name, getattr(options, name)) for name in options.model_fields_set - _OURS)
    return {name: value for name, value in items if value is not None}
