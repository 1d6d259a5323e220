"""What Celery has here: the apps with a Defer, and the task in progress."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from celery import current_app
from celery.app.task import Task
from celery.local import Proxy

from celery_defer.errors import StoreError

_apps: WeakSet[Any] = WeakSet()


def add(app: Any) -> None:
    """Remember that *app* has a Defer."""
    _apps.add(app)


def extension_of(app: Any) -> Any:
    """Return the Defer of *app*, or None."""
    return getattr(app, "_celery_defer", None)


def task_in_progress() -> Any:
    """Return the task that Celery runs here, of any app; None if there is none."""
    return current_app.current_task


def is_task(target: object) -> bool:
    """Whether *target* is a Celery task; one that is lazy stays asleep."""
    # `isinstance` would evaluate Celery's lazy proxy: its `__class__` is that of the task.
    return issubclass(type(target), Proxy | Task)


def in_use() -> Any:
    """Return Celery's current app, or the one app that has a Defer; raise StoreError.

    Each thread has a current app of its own: in those of a web server it may be none of the
    user's, unless `app.set_default()` says otherwise.
    """
    current = current_app._get_current_object()  # type: ignore[attr-defined]
    if extension_of(current) is not None:
        return current
    apps = list(_apps)
    if len(apps) == 1:
        return apps[0]
    found = "none has" if not apps else f"{len(apps)} have"
    raise StoreError(
        f"the current Celery app has no Defer(app), and of the others {found} one: import the "
        "module of your app, and call app.set_default() where a process has several"
    )
