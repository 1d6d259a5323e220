"""Which run is in progress in this thread, or in this coroutine."""

from __future__ import annotations

from contextvars import ContextVar, Token

from celery_defer import subject
from celery_defer.current import extension_of, task_in_progress
from celery_defer.errors import NoRunError
from celery_defer.run.parent import Run
from celery_defer.run.scope import Scope

_scope: ContextVar[Scope | None] = subject.scope


def enter(scope: Scope) -> Token[Scope | None]:
    """Make *scope* the one in progress; pass the token to ``leave``."""
    return _scope.set(scope)


def leave(token: Token[Scope | None]) -> None:
    """Restore the scope that was in progress before."""
    _scope.reset(token)


def find() -> Scope | None:
    """Return the scope in progress, whatever its phase; a block that has ended is none."""
    scope: Scope | None = subject.find()
    return scope


def current() -> Scope:
    """Return the scope that takes calls; raise NoRunError if there is none."""
    scope = find()
    if scope is None:
        raise _no_run()
    if not scope.ending.is_open:
        raise NoRunError(
            f"run {scope.run.id} ({scope.run.task}) has left its body; what it defers "
            "must be deferred inside the body"
        )
    return scope


def current_run() -> Run:
    """Return the run in progress; raise NoRunError outside a Celery task.

    >>> @app.task
    ... def score():
    ...     return current_run().parent.result()
    """
    scope = find()
    if scope is None:
        raise _no_run()
    return scope.run


def _no_run() -> NoRunError:
    task = task_in_progress()
    if task is None or extension_of(task.app) is not None:
        return NoRunError()
    return NoRunError(
        f"app {task.app.main!r} has no Defer(app), so its task {task.name} has no run: call "
        "Defer(app) where the app is made"
    )
