"""The apps of this process with a Defer, and the task in progress."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, TypeGuard
from weakref import WeakSet

from celery import current_app
from celery.app.task import Task
from celery.canvas import Signature
from celery.local import Proxy

from celery_defer.errors import StoreError

_apps: WeakSet[Any] = WeakSet()

#: The scope of the run in progress, which `celery_defer.run` sets.
scope: ContextVar[Any] = ContextVar("celery_defer_scope", default=None)


def add(app: Any) -> None:
    """Remember that *app* has a Defer."""
    _apps.add(app)


def extension_of(app: Any) -> Any:
    """Return the Defer of *app*, or None."""
    return getattr(app, "_celery_defer", None)


def task_in_progress() -> Any:
    """Return the task that runs here, of any app; None if there is none."""
    return current_app.current_task


def in_run() -> bool:
    """Whether a run is in progress here, of an app with a Defer."""
    return scope.get() is not None


def is_task(target: object) -> bool:
    """Whether *target* is a Celery task; a lazy one is not evaluated."""
    # `isinstance` would evaluate Celery's lazy proxy: its `__class__` is that of the task.
    return issubclass(type(target), Proxy | Task)


def is_app(target: object) -> bool:
    """Whether *target* is a Celery app."""
    return hasattr(type(target), "task_cls") and hasattr(type(target), "send_task")


def is_signature(target: object) -> TypeGuard[Signature[Any]]:
    """Whether *target* is what a task's ``s`` returns."""
    return isinstance(target, Signature)


def in_use() -> Any:
    """Return Celery's current app, or the one app that has a Defer; raise StoreError.

    Each thread has its own current app: in a web server's threads it may be Celery's default app,
    unless the user calls `app.set_default()`.
    """
    current = current_app._get_current_object()  # type: ignore[attr-defined]
    if extension_of(current) is not None:
        return current
    apps = list(_apps)
    if len(apps) == 1:
        return apps[0]
    number = f"{len(apps)} have" if apps else "none has"
    raise StoreError(
        f"the current Celery app has no Defer(app), and of the others {number} one: import the "
        "module of your app, and call app.set_default() where a process has several"
    )
