"""What both projects stand on: Django, a Celery app, and a helper that starts follow-up work.

They have the shape of two real projects, a planner of conferences and a seller of tickets: their
base classes, lazy strings, positional arguments, tasks without annotations, helpers outside tasks.
Each follow-up is started by ``defer`` or by ``apply_async``, as the test says.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import Any

import django
from celery import Celery, Task
from django.conf import settings
from django.db import transaction
from redis import Redis

from celery_defer import Defer, defer

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    USE_I18N=True,
    LANGUAGES=[("en", "English"), ("de", "German")],
)
django.setup()

app = Celery("shapes", broker=os.environ["SHAPES_REDIS"], backend=os.environ["SHAPES_REDIS"])
app.conf.task_default_queue = os.environ.get("SHAPES_QUEUE", "shapes")
app.conf.worker_hijack_root_logger = False
Defer(app)

seen = Redis.from_url(os.environ["SHAPES_REDIS"])

#: The way in which the run in progress starts its follow-up work, and its own id.
way: ContextVar[tuple[str, str]] = ContextVar("way")


def later(id: str, task: Any, *args: Any, **kwargs: Any) -> None:
    """Start follow-up work: the one line in which the two ways differ."""
    kind, _ = way.get()
    if kind == "defer":
        defer(id, task, *args, **kwargs)
    else:
        task.apply_async(args=args, kwargs=kwargs)


def note(scenario: str, what: str, **values: Any) -> None:
    """Keep what a task has got, with the types of the values, for the test to read."""
    shown = ", ".join(f"{name}={values[name]!r}" for name in sorted(values))
    seen.rpush(f"seen:{scenario}", f"{what}({shown})")


class ProfiledTask(Task):  # type: ignore[misc]
    """Counts what runs and how it ends."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        seen.incr("profiled:calls")
        return super().__call__(*args, **kwargs)

    def on_success(self, *args: Any) -> None:
        seen.incr("profiled:successes")
        return super().on_success(*args)


class AfterCommitTask(ProfiledTask):
    """Is sent when the transaction in progress commits, and so has no result to give."""

    abstract = True

    def apply_async(self, *args: Any, **kwargs: Any) -> None:
        transaction.on_commit(lambda: super(AfterCommitTask, self).apply_async(*args, **kwargs))


class Event:
    """A conference or a concert: a row of the database, to a real project."""

    def __init__(self, pk: int) -> None:
        self.pk = pk

    def __repr__(self) -> str:
        return f"Event({self.pk})"


class EventTask(Task):  # type: ignore[misc]
    """Takes the number of an event, by position or by name, and gives the function the event."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if "event" in kwargs:
            kwargs["event"] = Event(kwargs["event"])
        else:
            args = (Event(args[0]), *args[1:])
        return super().__call__(*args, **kwargs)


class ProfiledEventTask(ProfiledTask, EventTask):
    """Both."""

    abstract = True
