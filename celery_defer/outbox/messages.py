"""A record on its way to the broker: its calls as messages, and what came of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from celery_defer.broker import publish as broker
from celery_defer.broker.batch import Arrival, Ride
from celery_defer.broker.message import Message
from celery_defer.ids import run_id
from celery_defer.model import HEADER, Call, Options, Outcome, Record
from celery_defer.run.headers import seal

__all__ = ["Delivery", "deliver", "run_inline"]

logger = logging.getLogger(__name__)

_OURS = {"when", "experiment", "headers"}


def _nothing(_: Any) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of publishing a record: how many calls went, and why the others did not."""

    #: No broker will take them.
    refused: tuple[Call, ...] = ()
    #: This worker does not know their task; another may, as while a new version is rolled out.
    unknown: tuple[Call, ...] = ()
    #: The broker was away.
    unsent: tuple[Call, ...] = ()
    sent: int = 0
    #: Waits for the reply, where the record was settled with the messages.
    arrival: Arrival | None = None

    @property
    def reason(self) -> str:
        """What is wrong with the calls that cannot be published."""
        calls = (*self.refused, *self.unknown)
        return "cannot be published: " + ", ".join(f"{c.id!r} ({c.task})" for c in calls)


def deliver(
    app: Any,
    kept: Record,
    outcome: Outcome,
    token: str,
    *,
    is_durable: bool = False,
    ride: Ride = _nothing,
) -> Delivery:
    """Publish the calls of a record that wait for *outcome*.

    *token* goes with each message; two messages of one run that bear different ones are
    duplicates, of which one will run. *ride* goes with the messages if all of them go, and
    if their broker can take it.
    """
    known = app.tasks
    unknown = [call for call in _starting(kept, outcome) if call.task not in known]
    messages = _messages(app, kept, outcome, token)
    with_them: Ride = ride if not unknown else _nothing
    sent = broker.send(app, messages, is_durable=is_durable, ride=with_them)
    return Delivery(
        refused=tuple(message.call for message in sent.refused),
        unknown=tuple(unknown),
        unsent=tuple(message.call for message in sent.unsent),
        sent=len(messages) - len(sent.refused) - len(sent.unsent),
        arrival=sent.arrival,
    )


def run_inline(app: Any, kept: Record, outcome: Outcome) -> None:
    """Run the calls of a record that wait for *outcome* here, one after the other."""
    for message in _messages(app, kept, outcome, token=""):
        _apply(message)


def _starting(kept: Record, outcome: Outcome) -> list[Call]:
    return [call for call in kept.calls if outcome.starts(call.options.when)]


def _messages(app: Any, kept: Record, outcome: Outcome, token: str) -> list[Message]:
    tasks = app.tasks
    starting = [call for call in _starting(kept, outcome) if call.task in tasks]
    return [_message(kept, call, tasks[call.task], token) for call in starting]


def _message(kept: Record, call: Call, task: Any, token: str) -> Message:
    args, kwargs = from_json(call.payload)
    given = _given(call.options)
    inherited = kept.inherited
    if task.priority is not None:  # a task's own comes before its parent's
        inherited = {name: value for name, value in inherited.items() if name != "priority"}
    options = {
        **inherited,
        **given,
        "headers": {**(call.options.headers or {}), HEADER: seal(call, kept, token)},
        "parent_id": kept.parent,
        "root_id": kept.root,
    }
    return Message(call, run_id(kept.parent, call.id), task, tuple(args), kwargs, options)


def _given(options: Options) -> dict[str, Any]:
    if not options.model_fields_set:
        return {}
    given = ((name, getattr(options, name)) for name in options.model_fields_set - _OURS)
    return {name: value for name, value in given if value is not None}


def _apply(message: Message) -> None:
    try:
        # Not `throw`: a deferred run that fails never touches its parent.
        message.task.apply(
            message.args, message.kwargs, task_id=message.id, throw=False, **message.options
        )
    except Exception:  # a hook of the task raised: Celery lets that through in eager mode
        logger.exception("deferred run %s (%s) failed", message.id, message.task.name)
