"""The deferred functions of this process, found by their tasks."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

from celery_defer import guard
from celery_defer.contract.body import Body, evaluated, function_of, is_asleep
from celery_defer.contract.contract import Contract, schema_layout
from celery_defer.contract.function import Deferrable
from celery_defer.current import is_signature
from celery_defer.errors import ContractError, NotDeferredError, OptionError


@dataclass(eq=False, slots=True)
class _Declaration:
    """One use of ``@deferred``: the task, or the lazy proxy that Celery made for it."""

    target: Any
    schema: Any
    _deferrable: Deferrable[..., Any] | None = field(default=None)

    def read(self, task: Any = None) -> Deferrable[..., Any]:
        """Return the contract; the first call reads it, from *task* or from the declared one."""
        if self._deferrable is None:
            task = task or evaluated(self.target)
            Body(task.name, task.run, type(task)).check()
            self._deferrable = Deferrable(Contract.of(task.name, task.run, self.schema))
        return self._deferrable


# `defer` gets the same object as the decorator: its `id` finds it fast, and does not evaluate
# a proxy. The declaration holds the object, so no other object can have that `id`.
_by_target: dict[int, _Declaration] = {}
# Each app has its own clone of a shared task, under the same name and of the same function.
_by_function: dict[tuple[str, Any], _Declaration] = {}
# Not yet in `_by_function`: their app has not made the task.
_pending: list[_Declaration] = []


def declare(target: Any, schema: Any = None) -> None:
    """Remember that *target* is a deferred function.

    Raises ContractError if it is one already, and for a body that cannot be one; of a shared task
    that is found out at its first call.
    """
    if id(target) in _by_target:
        raise ContractError("@deferred is used twice on one task; remove one")
    if body := Body.of(target):
        body.check()
        if schema is not None:
            schema_layout(body.task, body.function, body.parameters, schema)
    declaration = _Declaration(target, schema)
    _by_target[id(target)] = declaration
    _pending.append(declaration)


def deferrable(function: object) -> Deferrable[..., Any]:
    """Return the contract of a deferred function; raise NotDeferredError for anything else.

    Raises OptionError if it has options that are impossible.
    """
    if isinstance(function, Deferrable):
        if function.problem:
            raise OptionError(function.problem)
        return function
    if declaration := _by_target.get(id(function)):
        return declaration.read()
    if declaration := find(function):
        return declaration.read(evaluated(function))
    raise NotDeferredError(_refusal(function))


def find(task: Any) -> _Declaration | None:
    """Return the declaration of *task*, whichever app's clone it is; None if there is none."""
    _pending[:] = [declaration for declaration in _pending if not _register(declaration)]
    try:
        key = _key(evaluated(task))
    except (AttributeError, TypeError):  # not a task at all
        return None
    return _by_function.get(key) or _of_sleeping_app(key[1])


def name_of(function: object) -> str:
    """Return the name of anything that was passed as a task, for a message."""
    return guard.attempt(
        lambda: str(getattr(function, "name", None) or repr(function)),
        f"<{type(function).__qualname__}>",
    )


def _refusal(function: object) -> str:
    """Return why *function* cannot be deferred, and what to write."""
    name = name_of(function)
    if is_signature(function):
        task = function.task
        return f"{task}.s(…) is a signature: pass the task and its arguments, defer(id, {task}, …)"
    if id(getattr(function, "__wrapped__", None)) in _by_target:
        return (
            f"{name} has @deferred below @app.task: write @deferred above it, or @deferred(app) "
            "in place of both"
        )
    return f"{name} is not a deferred function: put @deferred on top of it"


def _register(declaration: _Declaration) -> bool:
    """Enter the declaration in `_by_function`; return whether its task is there already."""
    if is_asleep(declaration.target):
        return False

    def enter() -> bool:
        _by_function[_key(evaluated(declaration.target))] = declaration
        return True

    # False for a task of another app that is not ready to make it yet.
    return guard.attempt(enter, default=False)


def _of_sleeping_app(function: Any) -> _Declaration | None:
    """Return the declaration of a clone by its function, while the original is still asleep."""
    for declaration in _pending:
        if is_asleep(declaration.target) and function_of(declaration.target) is function:
            return declaration
    return None


def _key(task: Any) -> tuple[str, Any]:
    # celery.app.base.Celery._task_from_fun stores the function as `__wrapped__`; a class-based
    # task has none, so its class stands in.
    function = getattr(task, "__wrapped__", None)
    if function is None:
        return task.name, type(task)
    return task.name, inspect.unwrap(getattr(function, "__func__", function))
