"""The apps of this process with a Defer, and the task in progress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard
from weakref import WeakSet

from celery import _state, current_app
from celery.app.task import Task
from celery.canvas import Signature
from celery.local import Proxy

from celery_defer import guard, subject
from celery_defer.errors import StoreError

logger = guard.logger(__name__)

_apps: WeakSet[Any] = WeakSet()
# The apps that a warning has named as the one in use.
_guessed: WeakSet[Any] = WeakSet()


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
    return subject.find() is not None


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

    The app that was made last in a thread is the current one there: if there are several with a
    Defer, a warning says which it is, unless the user has called `app.set_default()` on it. Each
    thread has its own current app: in a web server's threads it may be Celery's default app,
    unless the user calls `app.set_default()`.
    """
    current = current_app._get_current_object()  # type: ignore[attr-defined]
    apps = list(_apps)
    if extension_of(current) is not None:
        if len(apps) > 1 and current is not _default():
            _warn_once(current, apps)
        return current
    if len(apps) == 1:
        return apps[0]
    number = f"{len(apps)} have" if apps else "none has"
    raise StoreError(
        f"the current Celery app has no Defer(app), and of the others {number} one: import the "
        "module of your app, and call app.set_default() where a process has several"
    )


def _default() -> Any:
    return _state.default_app  # type: ignore[attr-defined]


def _warn_once(app: Any, apps: Sequence[Any]) -> None:
    if app in _guessed:
        return
    _guessed.add(app)
    others = ", ".join(repr(other.main) for other in apps if other is not app)
    logger.warning(
        "the app in use is %r, the last that was made in this thread, and %s has a Defer too: "
        "give app=, or call app.set_default()",
        app.main,
        others,
    )
