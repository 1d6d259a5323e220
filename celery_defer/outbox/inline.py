"""Calls that run at once in the process of their parent, which is eager."""

from __future__ import annotations

from typing import Any

from celery.app.task import Task

from celery_defer import guard
from celery_defer.broker import Message
from celery_defer.model import Outcome
from celery_defer.outbox.messages import messages_of, starting
from celery_defer.outbox.records import DeferredCalls
from celery_defer.run import Scope, signals

logger = guard.logger(__name__)


def run_inline(parent: Scope, record: DeferredCalls, outcome: Outcome) -> None:
    """Run the calls that wait for *outcome* here, one after the other."""
    signals.send_published(record.parent, record.task, starting(record, outcome))
    for message in messages_of(parent.app, record, outcome, token=""):
        # A hook of the task may raise; in eager mode Celery does not catch that.
        with guard.logged(
            logger, "deferred run %s (%s) failed", message.id, message.task, about=message.about
        ):
            _run(parent.app, message)


def _run(app: Any, message: Message) -> None:
    task, args, kwargs = message.target, tuple(message.args), dict(message.kwargs)
    options = {
        **{name: value for name, value in message.options.items() if name != "reply_to"},
        "task_id": message.id,
        "root_id": message.root_id,
        "parent_id": message.parent_id,
        "headers": dict(message.headers),
    }
    if app.conf.task_always_eager and _has_own_way(task):
        task.apply_async(args, kwargs, **options)  # Celery's own then calls `apply`
    else:
        # Not `throw`: a deferred run that fails does not affect its parent.
        task.apply(args, kwargs, throw=False, **options)


def _has_own_way(task: Any) -> bool:
    """Whether the task or its class has an ``apply_async`` of its own, which a worker calls."""
    return "apply_async" in vars(task) or type(task).apply_async is not Task.apply_async
