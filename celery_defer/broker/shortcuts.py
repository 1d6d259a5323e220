"""Which parts of Celery's publishing may be left out: those that nobody else has a hand in."""

from __future__ import annotations

from typing import Any

from celery.app.task import Task
from celery.signals import after_task_publish, before_task_publish, task_sent

from celery_defer.broker.message import Message, shows_as_usual

__all__ = ["has_no_shadow", "is_unwatched", "needs_apply_async"]

_CELERYS_OWN = ("celery.app.task", "celery.app.base", "kombu.messaging")


def needs_apply_async(message: Message) -> bool:
    """Whether Celery's own, slower way is needed.

    It knows what countdown, eta and expires mean to each broker, and it is where a task
    class, or a tool that watches Celery, has put itself in between.
    """
    options, task = message.options, message.task
    if not options.keys().isdisjoint({"countdown", "eta", "expires"}) or task.expires is not None:
        return True
    return _is_patched(task, "apply_async") or _is_patched(task.app, "send_task")


def is_unwatched(amqp: Any, producer: Any) -> bool:
    """Whether nobody watches how Celery publishes, or has a hand in it."""
    signals = before_task_publish, after_task_publish, task_sent
    if any(signal.receivers for signal in signals) or not shows_as_usual(amqp):
        return False
    return not _is_replaced(type(producer).publish)


def has_no_shadow(message: Message) -> bool:
    """Whether its task is shown under its own name, whatever the arguments."""
    return bool(type(message.task).shadow_name is Task.shadow_name)


def _is_patched(thing: Any, name: str) -> bool:
    return name in vars(thing) or _is_replaced(getattr(type(thing), name))


def _is_replaced(method: Any) -> bool:
    return method.__module__ not in _CELERYS_OWN or hasattr(method, "__wrapped__")
