"""What in an app would not work, or could lose work, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from celery.concurrency import get_available_pool_names

from celery_defer.broker import marks_redelivery
from celery_defer.contract import find
from celery_defer.current import extension_of
from celery_defer.errors import DeferError, SettingsError, StoreError
from celery_defer.text import text_of
from celery_defer.views import source

Level = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of *subject*: a task, a setting, or a server; is it that this does not reply?"""

    level: Level
    subject: str
    text: str
    is_away: bool = False


def check(app: Any) -> list[Problem]:
    """Return the problems of an app that has a Defer; it asks the store, but no worker."""
    app.finalize()
    return [*_of_settings(app), *_of_tasks(app), *_of_store(app)]


def _of_settings(app: Any) -> Iterator[Problem]:
    conf = app.conf
    if conf.task_always_eager:
        yield Problem(
            "warning",
            "task_always_eager",
            "runs are eager, which cannot wait: set it in tests only",
        )
    if conf.worker_pool not in get_available_pool_names():
        yield Problem(
            "warning",
            "worker_pool",
            f"{conf.worker_pool!r} is no pool of Celery's: try one task that defers before you "
            "rely on it",
        )
    if not marks_redelivery(app):
        yield Problem(
            "warning",
            "broker_url",
            "this broker does not mark a message that it delivers again, so two copies of one may "
            "both run: use Redis or RabbitMQ",
        )


def _of_tasks(app: Any) -> Iterator[Problem]:
    for name, task in sorted(app.tasks.items()):
        if not name.startswith("celery."):
            yield from _of_contract(name, task)
            yield from _of_waits(name, task)


def _of_contract(name: str, task: Any) -> Iterator[Problem]:
    declaration = find(task)
    if declaration is None:
        return
    try:
        declaration.read(task)
    except DeferError as error:
        yield Problem("error", name, str(error))
    for method in source.methods_that_index_arguments(task):
        yield Problem(
            "warning",
            name,
            f"{method} reads arguments by position: pass them by position to defer(…) too",
        )


def _of_waits(name: str, task: Any) -> Iterator[Problem]:
    is_kept = task.acks_late and task.reject_on_worker_lost
    if source.waits(task.run) and not is_kept:
        yield Problem(
            "warning",
            name,
            "it waits, and a worker that is killed in it loses the run: set acks_late=True and "
            "reject_on_worker_lost=True",
        )


def _of_store(app: Any) -> Iterator[Problem]:
    extension = extension_of(app)
    try:
        if extension.store is None:
            yield Problem("warning", "store", str(StoreError()))
            return
        for risk in extension.store.risks():
            yield Problem("warning", "store", risk)
    except SettingsError as error:
        yield Problem("error", "settings", str(error))
    except Exception as error:  # it is away, or refuses the user
        text = f"it does not reply: {text_of(error)}: start it, or correct its URL"
        yield Problem("error", "store", text, is_away=True)
