"""Apps whose results and messages one Redis keeps, and what that Redis was asked to do."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery._state import _set_task_join_will_block
from celery.signals import task_success
from kombu import Producer

from celery_defer import Defer
from tests.support.inside import Worker
from tests.support.redis import Server

__all__ = [
    "ONE_TRANSACTION", "Asked", "app_on", "asked_of", "close_apps", "first_at_success",
    "is_one_script", "lengths", "perform_watched", "staged",
]  # fmt: skip

#: Marks of tests of the transaction that has a result and its messages.
ONE_TRANSACTION = [
    # redis-py says so of what Celery's result backend calls.
    pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning"),
    pytest.mark.skipif(
        not hasattr(Producer, "batch"), reason="kombu before 5.7 has no batches to capture"
    ),
]

_apps: list[Any] = []

# What a client says when it connects.
_GREETINGS = frozenset({"HELLO", "AUTH", "CLIENT", "SELECT", "PING"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A command that a server has executed: for a client, or in a script."""

    verb: str
    key: str
    db: int
    in_script: bool


def is_one_script(asked: list[Asked]) -> bool:
    """Whether the server was asked for nothing but one script, which it knew."""
    return [each.verb for each in asked if not each.in_script] == ["EVALSHA"]


def app_on(server: Server, *, broker: str = "", backend: str = "", **settings: Any) -> Celery:
    """Return an app with its messages in database 3 of a server, and its results in database 4."""
    app = Celery(
        f"app-{uuid4()}",
        broker=broker or f"{server.url}/3",
        backend=backend or f"{server.url}/4",
    )
    app.conf.update(settings)
    Defer(app)
    _apps.append(app)
    return app


def close_apps() -> None:
    """Collect what the apps have opened.

    Celery and redis-py leave connections in cycles; where Python collects one, another test fails.
    """
    if not _apps:
        return
    _apps.clear()
    # A result of Celery's asks its server for a last time, which may have ended with its module.
    report, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        gc.collect()
    finally:
        sys.unraisablehook = report


@contextmanager
def asked_of(server: Server) -> Iterator[list[Asked]]:
    """Give a list that has, after the block, what the server was asked in it."""
    asked: list[Asked] = []
    client: Any = server.client()
    with client, client.monitor() as monitor:
        yield asked
        client.echo("the end")
        while (command := monitor.next_command())["command"] != "ECHO the end":
            verb, _, rest = command["command"].partition(" ")
            in_script = command["client_type"] == "lua"
            if in_script or verb not in _GREETINGS:
                asked.append(
                    Asked(verb.upper(), rest.partition(" ")[0], int(command["db"]), in_script)
                )


def perform_watched(server: Server, app: Celery, task: Any) -> tuple[Any, list[Asked]]:
    """Run *task*, and return its result and what the server was asked then.

    It runs once before that: its queues are declared then, and the scripts known.
    """
    worker = Worker(app)
    _set_task_join_will_block(True)  # as in a pool, which does not listen for results
    try:
        worker.perform(task)
        with asked_of(server) as asked:
            result = worker.perform(task)
    finally:
        _set_task_join_will_block(False)
    return result, asked


@contextmanager
def first_at_success(look: Callable[..., None]) -> Iterator[None]:
    """Call *look* when a task has succeeded, before the package does anything about it."""
    receivers = task_success.receivers
    task_success.connect(look, weak=False)
    receivers.insert(0, receivers.pop())
    try:
        yield
    finally:
        task_success.disconnect(look)


def lengths(server: Server, *queues: str, db: int = 3) -> list[int]:
    """Return how many messages are in each of the queues."""
    client: Any = server.client(db=db)
    return [client.llen(queue) for queue in queues or ("celery",)]


def staged(app: Celery) -> int:
    """Return how many records are in the outbox."""
    return int(app._celery_defer.store.waiting())
